"""RNTuples."""
