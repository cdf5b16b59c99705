"""Lazy arrays: awkward's interface, recorded as a graph."""
