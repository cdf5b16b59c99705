"""Schemas that come with hepgraph, one TOML file each; `hepgraph.schema` reads them."""
