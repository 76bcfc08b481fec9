"""The handler that says who may connect: one for a context, for as long as that lives."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import zmq

from edge import curve
from edge.keys import LineKeys, load_keys, make_keys
from edge.sockets import Socket, bind_router, connect_dealer

if TYPE_CHECKING:
    from pathlib import Path

    from edge.sockets import Context

LIMIT_MS = 5_000
LIMIT_S = 5.0


@pytest.fixture
def keys(tmp_path: Path) -> LineKeys:
    """The keys of a line."""
    make_keys(tmp_path / "keys")
    return load_keys(tmp_path / "keys")


def address(router: Socket) -> str:
    """Return where a socket is bound."""
    return router.getsockopt_string(zmq.LAST_ENDPOINT)


def test_one_handler_serves_all_sockets(zmq_context: Context, keys: LineKeys) -> None:
    """Two sockets with keys and one without live in one context, and each lets its peer in."""
    before = set(threading.enumerate())
    first, second = (bind_router(zmq_context, "tcp://127.0.0.1:*", keys=keys) for _ in range(2))
    plain = bind_router(zmq_context, "tcp://127.0.0.1:*")

    dealers = [
        connect_dealer(zmq_context, address(first), "a", keys=keys),
        connect_dealer(zmq_context, address(second), "b", keys=keys),
        connect_dealer(zmq_context, address(plain), "c"),
    ]

    assert all(dealer.poll(LIMIT_MS, zmq.POLLOUT) for dealer in dealers)
    assert [thread.name for thread in set(threading.enumerate()) - before] == ["zap"]


def test_handler_ends_with_its_context(keys: LineKeys) -> None:
    """Ending the context ends the handler; nothing else has to be closed."""
    context: Context = zmq.Context()
    before = set(threading.enumerate())
    router = bind_router(context, "tcp://127.0.0.1:*", keys=keys)
    handlers = set(threading.enumerate()) - before

    router.close(linger=0)
    context.term()

    assert len(handlers) == 1
    for handler in handlers:
        handler.join(LIMIT_S)
        assert not handler.is_alive()


def test_destroyed_context_ends_its_handler(keys: LineKeys) -> None:
    """A context that closes its sockets by itself ends the handler, too."""
    context: Context = zmq.Context()
    before = set(threading.enumerate())
    router = bind_router(context, "tcp://127.0.0.1:*", keys=keys)
    (handler,) = set(threading.enumerate()) - before

    context.destroy(linger=0)

    handler.join(LIMIT_S)
    assert not handler.is_alive()
    assert router.closed


def test_no_handler_no_entrance(
    zmq_context: Context, keys: LineKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an answer of the handler even the right key is not let in."""
    monkeypatch.setattr(curve, "_start_handler", lambda _context: None)
    router = bind_router(zmq_context, "tcp://127.0.0.1:*", keys=keys)
    refusals = router.get_monitor_socket(
        zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    )

    dealer = connect_dealer(zmq_context, address(router), "c1", keys=keys)

    assert refusals.poll(LIMIT_MS)
    assert not dealer.poll(0, zmq.POLLOUT)
    router.disable_monitor()


def test_stranger_is_named_once(
    zmq_context: Context, keys: LineKeys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A stranger who comes again and again is one line in the log."""
    make_keys(tmp_path / "other")
    other = load_keys(tmp_path / "other")
    router = bind_router(zmq_context, "tcp://127.0.0.1:*", keys=keys)
    refusals = router.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
    theirs = replace(keys, client_public=other.client_public, client_secret=other.client_secret)

    for name in ("a", "b", "c"):
        connect_dealer(zmq_context, address(router), name, keys=theirs)
        assert refusals.poll(LIMIT_MS)
        refusals.recv_multipart()

    assert [record.message for record in caplog.records] == [
        "refused 127.0.0.1: its key is not this line's client.key"
    ]
    router.disable_monitor()
