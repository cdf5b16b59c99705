"""One run, from its tasks to its result."""
