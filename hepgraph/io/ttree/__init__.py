"""TTrees."""
