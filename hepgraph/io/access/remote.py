"""Files behind a network: time-outs, and requests that are made again after a while when the trouble may pass.

`storage_options` are those of fsspec for the protocol; what is under their key "hepgraph" is meant for here:
`{"hepgraph": {"timeout": 30, "tries": 5, "wait": 1}}`.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import unquote

from hepgraph.errors import AccessError, ChangedFileError, MissingFileError, SourceError

T = TypeVar("T")

OURS = "hepgraph"
LONGEST_PAUSE = 60.0
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
        """The user's options; raises ValueError for one that there is not."""
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
        time.sleep(min(wait, LONGEST_PAUSE))


def system_options(path: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options for fsspec: the user's, with a time-out for HTTP and XRootD where there is none."""
    found = {name: value for name, value in (options or {}).items() if name != OURS}
    if path.startswith(XROOTD):
        whole = max(1, round(Patience.of(options).timeout))
        found.setdefault("timeout", whole)
        _bound_xrootd(whole)
    if path.startswith(("http://", "https://")):
        client = dict(found.get("client_kwargs", {}))
        try:
            import aiohttp
        except ImportError:  # fsspec says what to install
            return found
        if "timeout" not in client:
            seconds = Patience.of(options).timeout
            client["timeout"] = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
        found["client_kwargs"] = {**client, "trace_configs": [*client.get("trace_configs", ()), _checking()]}
    return found


@lru_cache(maxsize=1)
def _checking() -> Any:
    """Has aiohttp show each answer before its bytes are read, whoever asked."""
    import aiohttp

    async def check(session: Any, context: Any, told: Any) -> None:
        answer = told.response
        url = str((answer.history[0] if answer.history else answer).url)
        check_answer(url, told.headers.get("Range", ""), answer.status, answer.headers)

    config = aiohttp.TraceConfig()
    config.on_request_end.append(check)
    return config


class AnswerError(OSError):
    """A server's answer to another request than was made; `changed` if it is of another version of the file."""

    def __init__(self, message: str, changed: bool = False) -> None:
        super().__init__(message)
        self.changed = changed

    def __reduce__(self) -> Any:
        return AnswerError, (str(self), self.changed)

    @property
    def for_users(self) -> SourceError:
        """The error that users see."""
        return (ChangedFileError if self.changed else AccessError)(str(self))


def check_answer(url: str, asked: str, status: int, headers: Mapping[str, str]) -> None:
    """Raises AnswerError if a server did not answer with the range of bytes that it was asked for, of the same file."""
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
    if match is None:
        return
    start, last = int(match[1]), int(match[2])
    wanted, told = f"bytes {start} to {last + 1}", headers.get("Content-Range", "")
    given = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", told.strip())
    size = int(given[3]) if given and given[3] != "*" else None
    if status in (200, 206) and headers.get("Content-Type", "").strip().lower().startswith("text/html"):
        raise AnswerError(
            f"The server of {url} answered with a web page where {wanted} were asked for, maybe one to log in: fetch "
            "the file first, and give its path, or give what the server wants in storage_options."
        )
    if status == 200:
        length = headers.get("Content-Length", "")
        if start or not length.isdigit() or int(length) > last + 1:
            raise AnswerError(
                f"The server of {url} does not give parts of files, only whole ones (it answered 200 where {wanted} "
                "were asked for): fetch the file first, and give its path."
            )
        size = int(length)
    if status == 416 and size != 0:
        has = f": it has {size}" if size is not None else ""
        raise AnswerError(
            f"The server of {url} has no {wanted}{has} (it answered 416). The file is shorter than it should be, or "
            "was replaced: open the dataset again, and if that does not help, copy the file to its server once more."
        )
    if status == 206 and given and given[1]:
        first, end = int(given[1]), int(given[2])
        if first != start or end > last or (end < last and end + 1 != size):
            raise AnswerError(
                f"The server of {url} gave bytes {first} to {end + 1} where {wanted} were asked for. It, or a proxy "
                "before it, is at fault: fetch the file first, and give its path, or read it from another server."
            )
    if status in (200, 206):
        _check_same(url, size, headers)


_met: OrderedDict[str, tuple[int | None, str, str]] = OrderedDict()
_meeting = threading.Lock()
MOST_MET = 4096


def met(path: str) -> None:
    """Says that a file is opened anew: it may be another one than before."""
    with _meeting:
        _met.pop(unquote(path), None)


def _check_same(url: str, size: int | None, headers: Mapping[str, str]) -> None:
    """Raises AnswerError if an answer is of another file than the last one: of another length, or tag and time.

    Servers that share the work may have other tags for the same file, but not other times.
    """
    now = size, headers.get("ETag", ""), headers.get("Last-Modified", "")
    with _meeting:
        before = _met.pop(unquote(url), now)
        _met[unquote(url)] = now
        while len(_met) > MOST_MET:
            _met.popitem(last=False)
    told = [(f"{'it has' if i else 'it had'} {each[0]} bytes") for i, each in enumerate((before, now))]
    if None in (before[0], now[0]) or before[0] == now[0]:
        if not (before[1] and now[1]) or before[1] == now[1] or (before[2] and before[2] == now[2]):
            return
        told = [f"its tag was {before[1]}", f"is {now[1]}"]
    raise AnswerError(f"{url} changed while it was read: {told[0]}, and {told[1]} now. Open the dataset again.", True)


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
    """The cause of a trouble with an URL: even of the network's, fsspec says that there is no such file."""
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
    """Whether an error is of the network or the server, and may not occur again."""
    error = beneath(error)
    if isinstance(error, AnswerError) or _answer_of_xrootd(error) in LASTING:
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
    if isinstance(error, AnswerError):
        made: Exception = error.for_users
    elif is_missing(error):
        made = MissingFileError(f"No such file: {path}.")
    else:
        happened = what_happened(error, patience)
        often = f", {tried} times" if tried > 1 else ""
        made = AccessError(f"Cannot read bytes {where[0]} to {where[1]} of {path}: {happened}{often}.")
    made.__cause__ = error
    return made
