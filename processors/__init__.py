"""Processors that come with hepgraph: the ADL benchmark queries."""
