"""The bipartite graph of items and contexts, random walks on it, and neighbourhoods."""
