"""Selections of events, their weights, their cutflows."""
