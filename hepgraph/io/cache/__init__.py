"""Columns and metadata that are kept on disk."""
