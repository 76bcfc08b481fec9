"""A line over tcp: with the right keys it runs, whatever strangers try meanwhile."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import zmq

from edge.keys import LineKeys, load_keys, make_keys
from edge.sockets import PeerWatch, Socket, bind_router, connect_dealer, receive_all, try_send

if TYPE_CHECKING:
    from pathlib import Path

    from edge.sockets import Context

LIMIT_MS = 10_000
REFUSALS = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)


@pytest.fixture
def keys(tmp_path: Path) -> LineKeys:
    """The keys of the line."""
    return new_keys(tmp_path / "keys")


def new_keys(folder: Path) -> LineKeys:
    """Make and load keys."""
    make_keys(folder)
    return load_keys(folder)


def address(router: Socket) -> str:
    """Return where a socket is bound."""
    return router.getsockopt_string(zmq.LAST_ENDPOINT)


def exchange(router: Socket, dealer: Socket, word: bytes) -> list[bytes]:
    """Send a word and its answer; return what each side received."""
    assert dealer.poll(LIMIT_MS, zmq.POLLOUT), "no peer within the limit"
    assert try_send(dealer, [word])
    assert router.poll(LIMIT_MS), "nothing arrived within the limit"
    ((sender, body),) = [[bytes(part) for part in parts] for parts in receive_all(router)]
    assert try_send(router, [sender, body + b"!"])
    assert dealer.poll(LIMIT_MS), "no answer within the limit"
    ((answer,),) = [[bytes(part) for part in parts] for parts in receive_all(dealer)]
    return [sender, body, answer]


def test_right_keys_talk(zmq_context: Context, keys: LineKeys) -> None:
    """With the line's keys on both sides, messages pass in both directions."""
    router = bind_router(zmq_context, "tcp://127.0.0.1:*", keys=keys)

    dealer = connect_dealer(zmq_context, address(router), "c1", keys=keys)

    assert exchange(router, dealer, b"frame") == [b"c1", b"frame", b"frame!"]


def test_keys_open_a_public_address(zmq_context: Context, keys: LineKeys) -> None:
    """With keys a socket on every address is bound, and reached by who has them."""
    router = bind_router(zmq_context, "tcp://0.0.0.0:*", keys=keys)
    port = address(router).rpartition(":")[2]

    dealer = connect_dealer(zmq_context, f"tcp://127.0.0.1:{port}", "c1", keys=keys)

    assert exchange(router, dealer, b"frame") == [b"c1", b"frame", b"frame!"]


@pytest.mark.parametrize("mistake", ["wrong client key", "no keys", "wrong line key"])
def test_stranger_gets_nothing_through(
    zmq_context: Context, keys: LineKeys, tmp_path: Path, mistake: str
) -> None:
    """A stranger is refused under a name that is in use, too, and the line goes on meanwhile."""
    other = new_keys(tmp_path / "other")
    strangers = {
        "wrong client key": replace(
            keys, client_public=other.client_public, client_secret=other.client_secret
        ),
        "no keys": None,
        "wrong line key": replace(keys, line_public=other.line_public),
    }
    router = bind_router(zmq_context, "tcp://127.0.0.1:*", keys=keys)
    refusals = router.get_monitor_socket(REFUSALS)
    dealer = connect_dealer(zmq_context, address(router), "c1", keys=keys)
    assert exchange(router, dealer, b"before") == [b"c1", b"before", b"before!"]

    for number in range(3):
        stranger = connect_dealer(zmq_context, address(router), "c1", keys=strangers[mistake])
        assert refusals.poll(LIMIT_MS), "not refused within the limit"
        refusals.recv_multipart()
        word = b"during %d" % number
        assert exchange(router, dealer, word) == [b"c1", word, word + b"!"]
        assert not try_send(stranger, [b"forged"])
        assert not stranger.poll(0)

    assert not router.poll(0)
    router.disable_monitor()


@pytest.mark.parametrize(
    "rubbish",
    [b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\0" * 300],
    ids=["nothing", "http", "ones", "zeros"],
)
def test_scan_does_not_disturb(zmq_context: Context, keys: LineKeys, rubbish: bytes) -> None:
    """Who talks anything but CURVE to the port is neither a peer nor the loss of one."""
    router = bind_router(zmq_context, "tcp://127.0.0.1:*", keys=keys)
    watch = PeerWatch(router)
    dealer = connect_dealer(zmq_context, address(router), "c1", keys=keys)
    exchange(router, dealer, b"before")
    peers_before = watch.update()[0]

    with socket.create_connection(("127.0.0.1", int(address(router).rpartition(":")[2]))) as line:
        line.settimeout(LIMIT_MS / 1000)
        with contextlib.suppress(OSError):  # it may be shown out at the first byte
            line.sendall(rubbish)
            line.shutdown(socket.SHUT_WR)
            while line.recv(4096):
                pass
    exchange(router, dealer, b"after")
    assert watch.monitor.poll(LIMIT_MS)

    assert peers_before == 1
    assert watch.update() == (1, False)
    watch.close()


def test_wrong_keys_are_no_peer(zmq_context: Context, keys: LineKeys, tmp_path: Path) -> None:
    """A program with another line's keys never counts as a peer that is there or lost."""
    router = bind_router(zmq_context, "tcp://127.0.0.1:*", keys=keys)
    watch = PeerWatch(router)
    other = new_keys(tmp_path / "other")
    theirs = replace(keys, client_public=other.client_public, client_secret=other.client_secret)

    for name in ("scorer-a", "scorer-b"):
        stranger = connect_dealer(zmq_context, address(router), name, keys=theirs)
        refused = stranger.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        assert refused.poll(LIMIT_MS)
        assert watch.update() == (0, False)
        stranger.disable_monitor()
    dealer = connect_dealer(zmq_context, address(router), "scorer-c", keys=keys)
    exchange(router, dealer, b"presence")

    assert watch.update() == (1, False)
    watch.close()
