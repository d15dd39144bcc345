"""A web server on this machine that answers as it is told, well or badly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Answer:
    """One answer.

    Args:
        body: the whole file.
        status: HTTP state; 200 becomes 206 for a Range request if ``ranges`` and the tag fits.
        headers: further ones.
        sent: how many bytes of the body really go out; None: all.
        length: whether Content-Length is announced.
        stall: seconds of silence after the bytes that are sent, before the connection closes.
        etag: of the file.
        ranges: whether the server can send parts.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None
    length: bool = True
    stall: float = 0.0
    etag: str | None = None
    ranges: bool = True


class LocalServer:
    """``answers[path]`` is what a path answers, one after the other; the last one stays."""

    def __init__(self, url: str):
        self.url = url
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.half_way = threading.Event()  # something that stalls has sent its bytes
        self.closing = threading.Event()

    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.requests]

    def next(self, path: str) -> Answer:
        answers = self.answers.get(path, [Answer(b"no such thing", 404)])
        return answers.pop(0) if len(answers) > 1 else answers[0]


@contextmanager
def serve() -> Iterator[LocalServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            form = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            url = urlsplit(self.path)
            state.requests.append((self.command, self.path, dict(self.headers), form))
            answer = state.next(self.path if self.path in state.answers else url.path)
            status, body, headers = answer.status, answer.body, dict(answer.headers)
            if answer.etag:
                headers["ETag"] = answer.etag
            asked = self.headers.get("Range")
            if asked and answer.ranges and self.headers.get("If-Range") == answer.etag:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(body):
                    status, body = 416, b""
                else:
                    status, total = 206, len(body)
                    body = body[start:]
                    headers.setdefault("Content-Range", f"bytes {start}-{total - 1}/{total}")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if answer.length and status != 204:
                self.send_header("Content-Length", str(len(body)))
            else:
                self.close_connection = True
            self.end_headers()
            try:
                self.wfile.write(body[: answer.sent])
                self.wfile.flush()
            except ConnectionError:
                pass
            if answer.stall:
                state.half_way.set()
                state.closing.wait(answer.stall)
            if answer.sent is not None or answer.stall:
                self.close_connection = True

        do_POST = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state = LocalServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
