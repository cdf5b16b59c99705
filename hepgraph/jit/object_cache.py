"""Object code on disk, by the hash of all that it depends on; safe to share between processes, and to lose.

A file is executed only if it, and the directory it is in, belong to the user and cannot be written by others, and if
its checksum is right. Nothing here ever raises because of the state of the disk: what cannot be read is compiled
again, what cannot be written is not kept, which is said once.
"""

from __future__ import annotations

import hashlib
import os
import re

from hepgraph.disk.files import sealed, unsealed
from hepgraph.disk.folder import own_folder

MAGIC = b"hepgraph object 1\n"
_NAMES = re.compile(r".*\.o")


def key(*parts: str) -> str:
    """The name of an object."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part.encode())
    return digest.hexdigest()


def read(name: str) -> bytes | None:
    """The object of that name, if there is a sound one of the user's own."""
    folder = own_folder("objects", _NAMES)
    content = None if folder is None else folder.content(os.path.join(folder.directory, f"{name}.o"))
    return None if content is None else unsealed(MAGIC, name, bytes(content))


def write(name: str, data: bytes) -> None:
    """Keeps an object; others never see half of it."""
    folder = own_folder("objects", _NAMES)
    if folder is not None:
        folder.write(folder.directory, f"{name}.o", sealed(MAGIC, name, data))
