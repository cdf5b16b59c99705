"""Files that are kept for later: caches, checkpoints."""
