"""One fused native loop for a pass."""
