"""What is kept on disk for later: who may have written it, how it is read and written, and as what bytes."""
