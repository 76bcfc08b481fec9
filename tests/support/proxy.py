"""A TCP proxy that can be cut: a network that fails while both its ends are well."""

from __future__ import annotations

import contextlib
import socket
import threading

CHUNK_BYTES = 65_536
HOST = "127.0.0.1"


class Proxy:
    """Forwards connections to one port; cut, it drops them and refuses others."""

    def __init__(self, port: int) -> None:
        """Listen on a free port of the loopback address, for ``port`` there."""
        self._target = port
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])

    def cut(self) -> None:
        """End all connections at once, and take no more."""
        _close(self._listener)
        with self._lock:
            cut, self._open = self._open, []
        for end in cut:
            _close(end)

    def mend(self) -> None:
        """Take connections again, on the same port."""
        self._listener = self._listen(self.port)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server((HOST, port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection((HOST, self._target))
            with self._lock:
                self._open += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=_forward, args=(source, sink), daemon=True).start()


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK_BYTES):
            sink.sendall(data)
    _close(source)
    _close(sink)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
