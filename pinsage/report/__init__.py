"""The page that a run is judged by: one HTML file without network, and its figures as images."""
