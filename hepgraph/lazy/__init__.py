"""Lazy arrays: awkward's own interface, recorded as a graph."""
