"""Files behind a network: time-outs, and requests that are made again after a while when the trouble may pass.

`storage_options` are those of fsspec for the protocol; what is under their key "hepgraph" is meant for here:
`{"hepgraph": {"timeout": 30, "tries": 5, "wait": 1}}`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, TypeVar

from hepgraph.errors import AccessError, MissingFileError

T = TypeVar("T")

OURS = "hepgraph"
LONGEST_WAIT = 60.0
PASSING = (408, 425, 429)  # answers below 500 of which another try may have a better one
XROOTD = ("root://", "roots://", "xroot://", "xroots://")
NOT_FOUND = 3011  # the numbers of XRootD's protocol
LASTING = (3000, 3001, 3002, 3006, 3010, NOT_FOUND, 3013, 3015, 3016, 3028, 3030, 3031)  # another try will not help


@dataclass(frozen=True)
class Patience:
    """How long to wait for bytes, in s, and how often to ask in all, `wait` s and then longer and longer apart."""

    timeout: float = 60.0
    tries: int = 3
    wait: float = 0.5

    def __post_init__(self) -> None:
        if not (self.timeout > 0 and self.wait >= 0 and self.tries >= 1):
            raise ValueError(f"timeout must be positive, tries at least 1, and wait not negative: {self}")

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> Patience:
        """What the user's options say; raises ValueError for one that there is not."""
        told = dict((options or {}).get(OURS, {}))
        known = [each.name for each in fields(cls)]
        for name in told:
            if name not in known:
                raise ValueError(f"storage_options[{OURS!r}] has no {name!r}; there are {', '.join(known)}")
        return cls(**told)

    def pause(self, tried: int, error: BaseException) -> None:
        """Waits before the next try; for as long as the server asks, if it does."""
        asked = getattr(error, "headers", None)
        told = str(asked.get("Retry-After", "")) if asked is not None else ""
        wait = float(told) if told.isdigit() else self.wait * 3 ** (tried - 1)
        time.sleep(min(wait, LONGEST_WAIT))


def system_options(path: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options for fsspec: the user's, with a time-out for HTTP and XRootD where there is none."""
    found = {name: value for name, value in (options or {}).items() if name != OURS}
    if path.startswith(XROOTD):
        whole = max(1, round(Patience.of(options).timeout))
        found.setdefault("timeout", whole)
        _bound_xrootd(whole)
    if path.startswith(("http://", "https://")):
        client = dict(found.get("client_kwargs", {}))
        if "timeout" not in client:
            try:
                import aiohttp
            except ImportError:  # fsspec says what to install
                return found
            seconds = Patience.of(options).timeout
            client["timeout"] = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
            found["client_kwargs"] = client
    return found


@lru_cache(maxsize=1)
def _bound_xrootd(seconds: int) -> None:
    """Has the client of XRootD give up in time: of itself, it tries for ten minutes to connect, and waits thirty.

    These are settings of the process, of which its environment (XRD_CONNECTIONWINDOW and so on) comes first; ours are
    made once, and again if another time-out is asked for.
    """
    try:
        from XRootD import client
    except ImportError:  # fsspec says what to install
        return
    settings = {"TimeoutResolution": 1, "ConnectionRetry": 1, "StreamErrorWindow": seconds}
    settings |= dict.fromkeys(("ConnectionWindow", "RequestTimeout", "StreamTimeout"), seconds)
    for name, value in settings.items():
        if f"XRD_{name.upper()}" not in os.environ:
            client.EnvPutInt(name, value)


def beneath(error: BaseException) -> BaseException:
    """What happened: of any trouble with an URL, be it of the network, fsspec says that there is no such file."""
    while isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def is_missing(error: BaseException) -> bool:
    """Whether a file is not there."""
    error = beneath(error)
    if getattr(error, "status", None) in (404, 410):
        return True
    return isinstance(error, FileNotFoundError) or _answer_of_xrootd(error) == NOT_FOUND


def _answer_of_xrootd(error: BaseException) -> int | None:
    """The number of what an XRootD server said, which fsspec-xrootd has in the text of an OSError."""
    found = re.search(r"\[ERROR\] Server responded with an error: \[(\d+)\]", str(error))
    return int(found[1]) if found and isinstance(error, OSError) else None


def may_pass(error: BaseException) -> bool:
    """Whether the trouble is of the network or the server, and may be gone the next time."""
    error = beneath(error)
    if _answer_of_xrootd(error) in LASTING:
        return False
    status = getattr(error, "status", None)
    if isinstance(status, int) and status >= 100:
        return status >= 500 or status in PASSING
    lasting = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
    network = type(error).__module__.partition(".")[0] in ("aiohttp", "urllib3", "requests", "botocore", "XRootD")
    return network or (isinstance(error, OSError) and not isinstance(error, lasting))


def what_happened(error: BaseException, patience: Patience) -> str:
    """The trouble in a few words."""
    error = beneath(error)
    status = getattr(error, "status", None)
    if isinstance(status, int) and status >= 100:
        return f"the server answered {status} {getattr(error, 'message', '')}".strip()
    if isinstance(error, TimeoutError):
        return f"nothing came for {patience.timeout:g} s"
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def patiently(work: Callable[[], T], patience: Patience) -> T:
    """The result of some work, done again when it raises an AccessError that may pass."""
    tried = 0
    while True:
        tried += 1
        try:
            return work()
        except AccessError as error:
            cause = error.__cause__ or error
            if tried >= patience.tries or not may_pass(cause):
                raise
            patience.pause(tried, cause)


def answers(
    ask: Callable[[list[tuple[int, int]]], Sequence[Any]], ranges: list[tuple[int, int]], path: str, patience: Patience
) -> list[Any]:
    """The bytes of each range; those that did not come are asked for again.

    `ask` gives for each range its bytes or an exception. Raises AccessError naming path, range and what happened, or
    MissingFileError.
    """
    found: list[Any] = [None] * len(ranges)
    waiting = list(range(len(ranges)))
    tried = 0
    while waiting:
        tried += 1
        try:
            got = list(ask([ranges[index] for index in waiting]))
        except (OSError, TimeoutError) as error:
            got = [error] * len(waiting)
        failed: list[tuple[int, BaseException]] = []
        for index, answer in zip(waiting, got, strict=True):
            if isinstance(answer, BaseException):
                failed.append((index, answer))
            else:
                found[index] = answer
        for index, trouble in failed:
            if tried >= patience.tries or not may_pass(trouble):
                raise _given_up(path, ranges[index], trouble, tried, patience)
        waiting = [index for index, _ in failed]
        if failed:
            patience.pause(tried, failed[0][1])
    return found


def _given_up(path: str, where: tuple[int, int], error: BaseException, tried: int, patience: Patience) -> Exception:
    if isinstance(error, MemoryError):
        return error
    if is_missing(error):
        made: Exception = MissingFileError(f"No such file: {path}.")
    else:
        happened = what_happened(error, patience)
        often = f", {tried} times" if tried > 1 else ""
        made = AccessError(f"Cannot read bytes {where[0]} to {where[1]} of {path}: {happened}{often}.")
    made.__cause__ = error
    return made
