"""The typed graph: spaces, maps, nodes, their meaning."""
