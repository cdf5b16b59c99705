"""Passes over the data: their sinks, and which data each leaves unread."""
