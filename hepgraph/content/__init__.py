"""Fingerprints of analyses, and their dependencies that cannot be tracked."""

from hepgraph.content.digester import Digester, Fingerprint, digest, fingerprint
from hepgraph.content.untracked import FILE, STATE, Untracked

__all__ = ["FILE", "STATE", "Digester", "Fingerprint", "Untracked", "digest", "fingerprint"]
