"""Analyses as classes, recorded or run eagerly."""
