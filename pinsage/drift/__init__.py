"""Tonight's data and embeddings beside those of the nights before."""
