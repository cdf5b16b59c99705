"""LLVM: from text to code."""
