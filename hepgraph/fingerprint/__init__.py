"""Fingerprints of analyses."""

from hepgraph.fingerprint.digester import Digester, Fingerprint, digest, fingerprint
from hepgraph.fingerprint.pieces import changed, pieces
from hepgraph.fingerprint.untracked import FILE, STATE, Untracked

__all__ = ["FILE", "STATE", "Digester", "Fingerprint", "Untracked", "changed", "digest", "fingerprint", "pieces"]
