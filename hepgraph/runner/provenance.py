"""Provenance of a result: hashes of plans and code, parameters, versions, and the state of the user's repository."""

from __future__ import annotations

import getpass
import inspect
import platform
import socket
import subprocess
import sys
import time
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from hepgraph.fingerprint import fingerprint

PACKAGES = ("hepgraph", "awkward", "numpy", "uproot", "pyarrow", "hist", "boost-histogram", "vector", "fsspec")


def provenance(processor: Any = None) -> dict[str, Any]:
    """Provenance known before a run: of a processor (an object with `process`, or a function), and of where it runs."""
    about: dict[str, Any] = {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "host": socket.gethostname(),
        "user": _user(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": dict(versions()),
    }
    if processor is not None:
        about["processor"] = name_of(processor)
        about["parameters"] = parameters(processor)
        about["code"] = code_of(processor)
    about["git"] = git_state(_folder(processor))
    return about


def name_of(processor: Any) -> str:
    """The name of a processor's class, or of a function."""
    return str(getattr(processor, "__qualname__", None) or type(processor).__qualname__)


def parameters(processor: Any) -> dict[str, str]:
    """The attributes of a processor as text, each cut at 200 characters."""
    found = {} if inspect.isroutine(processor) else getattr(processor, "__dict__", {})
    return {str(name): repr(value)[:200] for name, value in found.items()}


def code_of(processor: Any) -> str:
    """The hash of a processor's code and parameters, as far as they can be followed."""
    return fingerprint(processor).key


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """The versions of the packages that results depend on."""
    found = []
    for name in PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


def git_state(folder: Path) -> dict[str, Any]:
    """The commit and branch of the repository that a folder is in, and whether files differ from it; empty if none."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "status", "--porcelain=v2", "--branch", "--untracked-files=no"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if done.returncode:
        return {}
    state: dict[str, Any] = {"commit": "", "branch": "", "changed": []}
    for line in done.stdout.splitlines():
        words = line.split()
        if line.startswith("# branch.oid"):
            state["commit"] = words[2]
        elif line.startswith("# branch.head"):
            state["branch"] = words[2]
        elif not line.startswith("#"):
            state["changed"].append(words[-1])
    return state


def _folder(processor: Any) -> Path:
    """Where the code of a processor is: the folder of its module, or the working directory."""
    module = sys.modules.get(getattr(processor, "__module__", "") or "")
    file = getattr(module, "__file__", None)
    ours = (getattr(module, "__name__", "") or "").partition(".")[0] == "hepgraph"
    return Path(file).parent if file and not ours else Path.cwd()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # nobody of this number is known
        return ""
