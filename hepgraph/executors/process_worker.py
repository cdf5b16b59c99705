"""The other end of `Processes`: a fresh Python that works on the tasks it is sent, one after the other.

Messages go over the standard input and output of the process, so that nothing of the parent is inherited and a script
needs no `if __name__ == "__main__"`. What user code prints goes to the standard error, and so is seen at once.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import threading
import time
import traceback
from typing import IO, Any

from hepgraph.errors import ExecutorError
from hepgraph.functions import pickling

_LENGTH = struct.Struct("<Q")
BOOTSTRAP = (
    "import json, os, sys; sys.path[:] = json.loads(os.environ['HEPGRAPH_PATH']); "
    "from hepgraph.executors.process_worker import serve; serve()"
)


class RemoteTraceback(Exception):
    """Where in another process an exception was raised, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def send(stream: IO[bytes], message: bytes) -> None:
    """Writes one message."""
    stream.write(_LENGTH.pack(len(message)))
    stream.write(message)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """The next message, or None where the other side has gone."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(head)
    body = stream.read(size)
    return body if len(body) == size else None


def serve() -> None:
    """Works on what comes in until the parent closes the input: first the work, then one task a message.

    With a task comes the one that is likely to be the next, or None.
    """
    import signal

    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
    threading.Thread(target=_outlive, args=(os.getppid(),), name="hepgraph-parent", daemon=True).start()
    send(outgoing, b"ready")
    body = receive(incoming)
    work: Any = None
    while body is not None and (message := receive(incoming)) is not None:
        try:
            if work is None:
                work = pickle.loads(body).work()
            task, after = pickle.loads(message)
            if after is not None:
                work.ahead(after)
            answer = pickling.dumps((True, work(task)))
        except Exception as error:
            answer = failure(error)
        try:
            send(outgoing, answer)
        except BrokenPipeError:  # nobody is there to tell
            os._exit(1)


def _outlive(parent: int) -> None:
    """Ends this process soon after its parent, whatever it is working on."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def failure(error: Exception) -> bytes:
    """An exception and its traceback as a message; one that does not survive the journey becomes its text."""
    text = "".join(traceback.format_exception(error))
    try:
        body = pickling.dumps((False, error, text))
        pickle.loads(body)
    except Exception:  # exceptions whose __init__ takes other arguments than they keep
        plain = ExecutorError(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", ()):
            plain.add_note(note)
        body = pickling.dumps((False, plain, text))
    return body


def result(answer: bytes) -> Any:
    """The value of a message; raises the exception that the other process had."""
    ok, value, *text = pickle.loads(answer)
    if ok:
        return value
    value.__cause__ = RemoteTraceback(text[0])
    raise value


def path() -> str:
    """The module search path of this process, for the environment of a child."""
    import json

    return json.dumps([os.path.abspath(p) if p == "" else p for p in sys.path])
