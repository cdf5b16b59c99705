"""The native engine: a pass as one fused loop over events, compiled by LLVM."""
