"""Work that travels to other processes: as bytes, with the code that is not installed there, and what it needs there.

Functions and classes of notebooks and scripts travel by value, and so do those of modules that are no installed
package: a file beside the script. Everything else is imported by name on the other side, so versions must agree there.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import site
import sys
import sysconfig
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from hepgraph.errors import ShippingError, VersionError
from hepgraph.executors.interface import Work
from hepgraph.executors.unpicklable import culprit
from hepgraph.functions import pickling
from hepgraph.functions.behaviors import Behaved, registered

# where these differ, a result may differ or not come at all
PACKAGES = ("hepgraph", "awkward", "numpy", "boost-histogram")


@dataclass(frozen=True)
class Shipped:
    """A function as bytes, unpacked once in each process; `wanted` are the versions with which it was packed."""

    body: bytes
    key: str
    wanted: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, work: Work) -> Shipped:
        """The function, packed. Raises ShippingError, naming what cannot be pickled."""
        body = packed(Behaved(work) if registered() else work)
        return cls(body, hashlib.sha256(body).hexdigest(), versions())

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shipped) and self.key == other.key

    def __call__(self, task: Any) -> Any:
        return self.work()(task)

    def work(self, where: str | None = None) -> Any:
        """The function itself; raises VersionError if it cannot be trusted to work in this process.

        `where` is how the message names this process.
        """
        with _unpacking:
            if self.key in _unpacked:
                _unpacked.move_to_end(self.key)
            else:
                where = where or f"process {os.getpid()} on {platform.node()}"
                check_versions(self.wanted, versions(), where)
                _unpacked[self.key] = _loaded(self.body, where)
                while len(_unpacked) > 8:
                    _unpacked.popitem(last=False)
            return _unpacked[self.key]


_unpacking = threading.RLock()
_unpacked: OrderedDict[str, Any] = OrderedDict()


def _loaded(body: bytes, where: str) -> Any:
    import pickle

    try:
        return pickle.loads(body)
    except ModuleNotFoundError as error:
        raise VersionError(
            f"The module {error.name!r} is not on {where}, where the analysis needs it: install it there, or "
            "put its code in a file beside the script, which travels by itself."
        ) from error


def packed(thing: Any) -> bytes:
    """Anything as bytes, local code by value. Raises ShippingError, naming what cannot be pickled."""
    with _by_value():
        try:
            return pickling.dumps(thing)
        except Exception as error:
            raise ShippingError(culprit(thing, error)) from error


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {"python": f"{sys.version_info.major}.{sys.version_info.minor}"}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def versions() -> dict[str, str]:
    """The versions that must be the same wherever a run takes place."""
    return dict(_versions())


def check_versions(here: Mapping[str, str], there: Mapping[str, str], where: str) -> None:
    """Raises VersionError if some version of the process that asked is not that of the one called `where`."""
    other = [name for name, version in here.items() if there.get(name, "not installed") != version]
    if other:
        lines = [f"  {name}: {here[name]} here, {there.get(name, 'not installed')} there" for name in other]
        raise VersionError(
            f"{where} has other versions than the process that asked:\n"
            + "\n".join(lines)
            + "\nResults could differ, or not come at all: start the workers from the same environment."
        )


# code that is not installed


@contextmanager
def _by_value() -> Iterator[None]:
    """While inside, cloudpickle writes the functions and classes of local modules out in full."""
    import cloudpickle

    with _registering:
        already = cloudpickle.list_registry_pickle_by_value()
        modules = [module for module in _local_modules() if module.__name__ not in already]
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)


_registering = threading.RLock()


def _local_modules() -> list[ModuleType]:
    """The modules of this process that other machines cannot import: Python files of no installed package."""
    found = []
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path is None or name == "__main__" or getattr(module, "__name__", None) != name:
            continue
        if path.endswith(".py") and not _is_installed(name.partition(".")[0], str(path)):
            found.append(module)
    return found


@lru_cache(maxsize=4096)
def _is_installed(package: str, path: str) -> bool:
    """Whether a module is of the standard library or of a package that was installed, editable ones included."""
    if package in sys.stdlib_module_names or package in ("hepgraph", "__mp_main__"):
        return True
    resolved = Path(path).resolve()
    return any(resolved.is_relative_to(place) for place in _places()) or package in _distributed()


@lru_cache(maxsize=1)
def _places() -> tuple[Path, ...]:
    """Where packages are installed: wherever a folder of that name is on the path, as in a nested environment."""
    names = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    names += [site.getusersitepackages(), *(p for p in sys.path if Path(p).name in ("site-packages", "dist-packages"))]
    return tuple(Path(name).resolve() for name in names if name)


@lru_cache(maxsize=1)
def _distributed() -> frozenset[str]:
    """The top-level names of all installed distributions; slow, so asked for last."""
    return frozenset(importlib.metadata.packages_distributions())


__all__ = ["Shipped", "check_versions", "packed", "versions"]
