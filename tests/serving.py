"""A local HTTP server that serves ranges of files, counts what it is asked for, and fails when it is told to."""

import re
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hepgraph.io.access.prefetch import ahead
from hepgraph.io.parquet import source as parquet
from hepgraph.io.rntuple import source as rntuple
from hepgraph.io.trees import handles
from hepgraph.io.ttree.source import layouts


class Server:
    """Files by name, the requests that came, and what is to go wrong next.

    `trouble` is called with the number of each request for a range, from 0, and its (start, stop); it gives None or the
    name of a trouble: "503", "404", "403", "stall" (nothing comes until the server ends), "drop" (the connection ends
    before the answer), "cut" (after half of it), "whole" (the range is ignored), "later" (503 with Retry-After: 0),
    "shifted" (the next byte on), "short" (all but the last byte, and says so), "416", "touched" (with another tag),
    "page" (a web page to log in by).
    """

    def __init__(self, files):
        self.files = files
        self.asked = []  # (start, stop) of each request for a range
        self.heads = 0
        self.modified = ""  # what is said of when files were written
        self.trouble = lambda number, where: None
        self.lock = threading.Lock()
        self.ended = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        content = self.server.mine.files.get(self.path.lstrip("/"))
        self.server.mine.heads += 1
        self._begin(404 if content is None else 200, 0 if content is None else len(content))

    def do_GET(self):
        mine = self.server.mine
        content = mine.files.get(self.path.lstrip("/"))
        if content is None:
            self._fail(404)
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if match is None:
            self._begin(200, len(content))
            self.wfile.write(content)
            return
        start, stop = int(match[1]), min(int(match[2] or len(content) - 1) + 1, len(content))
        with mine.lock:
            number = len(mine.asked)
            mine.asked.append((start, stop))
        self._answer(content, start, stop, mine.trouble(number, (start, stop)))

    def _answer(self, content, start, stop, trouble):
        match trouble:
            case "503" | "404" | "403":
                self._fail(int(trouble))
            case "later":
                self._fail(503, {"Retry-After": "0"})
            case "stall":
                self.server.mine.ended.wait(60)
                self.close_connection = True
            case "drop":
                self.close_connection = True
            case "cut":
                self._begin(206, stop - start, {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})
                self.wfile.write(content[start : (start + stop) // 2])
                self.close_connection = True
            case "shifted" | "short":
                start, stop = (start + 1, stop + 1) if trouble == "shifted" else (start, stop - 1)
                self._begin(206, stop - start, {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})
                self.wfile.write(content[start:stop])
            case "416":
                self._fail(416, {"Content-Range": f"bytes */{len(content)}"})
            case "touched":
                self._begin(206, stop - start, {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}, '"two"')
                self.wfile.write(content[start:stop])
            case "page":
                page = b"<html>Who are you?</html>"
                self._begin(200, len(page), {"Content-Type": "text/html; charset=utf-8"})
                self.wfile.write(page)
            case "whole":
                self._begin(200, len(content))
                self.wfile.write(content)
            case None:
                self._begin(206, stop - start, {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"})
                self.wfile.write(content[start:stop])

    def _begin(self, status, length, more=None, tag='"one"'):
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", tag)
        if self.server.mine.modified:
            self.send_header("Last-Modified", self.server.mine.modified)
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def _fail(self, status, more=None):
        self._begin(status, 0, more)


class _Threads(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):  # a client that gave up
        pass


@contextmanager
def serving(files):
    """A server of these files, {name: bytes}."""
    mine = Server(files)
    mine.http = _Threads(("127.0.0.1", 0), Handler)
    mine.http.mine = mine
    thread = threading.Thread(target=mine.http.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield mine
    finally:
        mine.ended.set()
        mine.http.shutdown()
        mine.http.server_close()
        thread.join()


def free_port():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


@contextmanager
def running(command, port):
    """A server that some command starts, once it listens."""
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield server
    finally:
        server.kill()
        server.wait()


def forget():
    """As in a fresh process."""
    for each in (handles, parquet.handles, parquet.kept, layouts, rntuple._layouts, parquet._footers):
        each.clear()
    ahead._clear()
