"""Whose code it is: the user's own, which is followed, or that of an installed package, which has a version."""

from __future__ import annotations

import os
import sys
import sysconfig
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_LIBRARY = f"Python {sys.version_info.major}.{sys.version_info.minor}"


@cache
def users_own(module: str) -> bool:
    """Whether a module is the user's own code: not of Python's library, and not installed.

    What is installed to be edited (`pip install -e`) is the user's own.

    >>> users_own("json"), users_own("numpy.linalg")
    (False, False)
    """
    top = module.partition(".")[0]
    if module.startswith("hepgraph.processors") or top == "__main__":
        return True
    if top == "hepgraph" or top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return False
    found = _file(module)
    if found is None:
        return True
    path = Path(found).resolve()
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return not ({"site-packages", "dist-packages"} & set(path.parts) or any(base in path.parents for base in installed))


def _file(module: str) -> str | None:
    """Where a module lies, or the package that it is of if it is not imported yet; None if a program made it."""
    found = sys.modules.get(module)
    if found is not None:
        return getattr(found, "__file__", None) or next(iter(getattr(found, "__path__", ())), None)
    top = module.partition(".")[0]
    if top != module and top in sys.modules:
        return _file(top)
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):  # a module that somebody made has no spec
        return None
    return None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)


def modules_in(folder: str) -> list[Path]:
    """The files of the modules below the folder of a package, in order; not those of an environment inside of it."""
    found: list[Path] = []
    for here, inside, names in os.walk(folder):
        if "pyvenv.cfg" in names:
            inside.clear()
            continue
        inside[:] = [name for name in inside if not name.startswith((".", "__pycache__"))]
        found += [Path(here, name) for name in names if name.endswith(".py")]
    return sorted(found)


@cache
def version_of(module: str) -> str:
    """The version of the package that a module is of; that of Python for its own library.

    >>> version_of("json").startswith("Python 3.")
    True
    """
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in sys.builtin_module_names:
        return _LIBRARY
    try:
        return metadata.version(top)
    except metadata.PackageNotFoundError:  # a distribution may be called otherwise than what it installs
        names = _distributions().get(top, ())
        return ", ".join(sorted({f"{name} {metadata.version(name)}" for name in names}))


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def installed_name(thing: Any) -> str | None:
    """The name by which an installed package has this very thing; None for what is made, the user's, or patched in.

    >>> import numpy as np
    >>> installed_name(np.median), installed_name(lambda x: x)
    ('numpy.median', None)
    """
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or users_own(module):
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}.{name}" if found is thing else None
