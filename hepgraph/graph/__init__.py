"""The graph: index spaces, maps between them, and nodes, one scalar for each element of one space."""
