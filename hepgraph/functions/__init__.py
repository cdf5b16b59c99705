"""The user's functions, as they were when they were recorded."""
