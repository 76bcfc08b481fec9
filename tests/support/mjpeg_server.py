"""A network camera: HTTP with one JPEG after another, that stalls and dies when told to."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import cv2
import numpy as np

HEIGHT_PX, WIDTH_PX = 48, 64
PAUSE_S = 0.01
BEGIN = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=picture\r\n\r\n"
REFUSAL = b'HTTP/1.0 401 Unauthorized\r\nWWW-Authenticate: Basic realm="camera"\r\n\r\n'


def jpeg(colour: tuple[int, int, int]) -> bytes:
    """Return a picture of one colour, blue first."""
    pixels = np.full((HEIGHT_PX, WIDTH_PX, 3), colour, np.uint8)
    ok, data = cv2.imencode(".jpg", pixels)
    assert ok
    return data.tobytes()


class MjpegServer:
    """Sends ``picture`` to whoever connects, over and over; listens on the loopback address."""

    def __init__(self, picture: bytes, port: int = 0) -> None:
        """Listen."""
        self.picture = picture
        self.begin = BEGIN
        """What is sent before the first picture; empty: nothing is, ever."""
        self.login = b""
        """What a request must hold, or it is refused."""
        self.requests: list[bytes] = []
        self.flows = threading.Event()
        """Cleared, no picture is sent, and nothing is closed."""
        self.flows.set()
        self._once: list[bytes] = []
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def send_once(self, *bodies: bytes) -> None:
        """Send these, one after the other, each in the place of one picture."""
        self._once += bodies

    def hang_up(self) -> None:
        """Close what is connected."""
        while self._connections:
            connection = self._connections.pop()
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def stop(self) -> None:
        """End, and let nobody connect any more; more calls do nothing."""
        self._stopped.set()
        self.flows.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            request = connection.recv(4096)
            if not request:
                return
            self.requests.append(request)
            begin = self.begin if self.login in request else REFUSAL
            connection.sendall(begin)
            while begin == BEGIN and not self._stopped.is_set():
                self.flows.wait()
                picture = self._once.pop(0) if self._once else self.picture
                head = f"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}"
                connection.sendall(head.encode() + b"\r\n\r\n" + picture + b"\r\n")
                time.sleep(PAUSE_S)
