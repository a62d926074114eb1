"""Nearest-neighbour retrieval and what consumers read."""
