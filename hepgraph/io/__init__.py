"""Readers: what a source promises, and one file for each format."""
