"""Fingerprints of analyses."""

from hepgraph.fingerprint.digester import Digester, Fingerprint, digest, fingerprint
from hepgraph.fingerprint.untracked import FILE, STATE, Untracked

__all__ = ["FILE", "STATE", "Digester", "Fingerprint", "Untracked", "digest", "fingerprint"]
