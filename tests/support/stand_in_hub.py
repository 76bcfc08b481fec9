"""A stand-in for the Hugging Face hub on the loopback address, with one file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class StandInHub:
    """A hub with one file; it says and does what a test sets."""

    content: bytes
    etag: str
    url: str = ""
    commit: str = COMMIT
    """Empty: answers do not look like a hub's."""
    status: int = 200
    cuts_at: list[int] = field(default_factory=list)
    """For each download to come: bytes after which the connection is cut."""
    storage: str = ""
    """Another host that the file lies on, as the real hub's large files do."""
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Requests so far: method, path, range."""

    @property
    def ranges(self) -> list[str | None]:
        """Ranges of the downloads so far."""
        return [asked for method, path, asked in self.asked if self.serves(method, path)]

    def serves(self, method: str, path: str) -> bool:
        """Whether a request is answered with the file itself."""
        return method == "GET" and (not self.storage or path.startswith("/storage"))


class HubServer(ThreadingHTTPServer):
    """The stand-in's socket."""

    hub: StandInHub


class HubHandler(BaseHTTPRequestHandler):
    """The protocol as far as the client speaks it for one file."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> StandInHub:
        """The stand-in that is asked."""
        return cast("HubServer", self.server).hub

    def do_HEAD(self) -> None:
        """Say what the file is."""
        self.answer()

    def do_GET(self) -> None:
        """Send the file, or its end."""
        self.answer()

    def answer(self) -> None:
        """Fail, lead to the storage, or serve."""
        hub, span = self.hub, self.headers.get("Range")
        hub.asked.append((self.command, self.path, span))
        if hub.status != 200:
            self.reply(hub.status, b"", {})
        elif hub.storage and not self.path.startswith("/storage"):
            self.reply(302, b"", {"Location": f"{hub.storage}/storage"})
        elif span is None:
            self.reply(200, hub.content, {})
        else:
            first, end = int(span.removeprefix("bytes=").removesuffix("-")), len(hub.content)
            extra = {"Content-Range": f"bytes {first}-{end - 1}/{end}"}
            self.reply(206, hub.content[first:], extra)

    def reply(self, status: int, body: bytes, extra: dict[str, str]) -> None:
        """Send one answer, the body only where it was asked for, and in part before a cut."""
        headers = {
            "X-Linked-Etag": f'"{self.hub.etag}"',
            "X-Linked-Size": str(len(self.hub.content)),
            "Accept-Ranges": "bytes",
            "Content-Length": str(len(body)),
        }
        if self.hub.commit:
            headers["X-Repo-Commit"] = self.hub.commit
        self.send_response(status)
        for key, value in (headers | extra).items():
            self.send_header(key, value)
        self.end_headers()
        if self.hub.serves(self.command, self.path):
            if self.hub.cuts_at:
                body = body[: self.hub.cuts_at.pop(0)]
                self.close_connection = True
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep standard error clean."""


@contextmanager
def serving(hub: StandInHub) -> Iterator[None]:
    """Let the stand-in answer; its address is known from here on."""
    server = HubServer(("127.0.0.1", 0), HubHandler)
    server.hub = hub
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
