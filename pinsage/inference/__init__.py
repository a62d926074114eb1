"""Embedding of every item, layer by layer, no node twice."""
