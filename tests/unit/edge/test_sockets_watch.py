"""The watch over peers: who did not pass the handshake is neither counted nor missed."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast

import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.sockets import PeerWatch, Socket, bind_router, connect_dealer

if TYPE_CHECKING:
    from edge.sockets import Context

LIMIT_MS = 5_000
CAME, PASSED, GONE = zmq.EVENT_ACCEPTED, zmq.EVENT_HANDSHAKE_SUCCEEDED, zmq.EVENT_DISCONNECTED


class Monitor:
    """A socket's monitor that says what it is told to."""

    def __init__(self) -> None:
        """Say nothing yet."""
        self.waiting: list[list[bytes]] = []

    def get_monitor_socket(self, _events: int) -> Monitor:
        """Stand for the socket, too."""
        return self

    def say(self, event: int, descriptor: int = 0) -> None:
        """Put an event into the queue; only coming and going name the connection."""
        head = event.to_bytes(2, "little") + descriptor.to_bytes(4, "little")
        self.waiting.append([head, b"tcp://127.0.0.1:1"])

    def poll(self, _limit_ms: int) -> bool:
        """Tell whether there is an event."""
        return bool(self.waiting)

    def recv_multipart(self) -> list[bytes]:
        """Return the next event."""
        return self.waiting.pop(0)


def make_watch() -> tuple[PeerWatch, Monitor]:
    """Return a watch and what it listens to."""
    monitor = Monitor()
    return PeerWatch(cast("Socket", monitor)), monitor


def test_stranger_is_no_peer(zmq_context: Context) -> None:
    """Who connects without a handshake is not counted, and not missed when it goes."""
    router = bind_router(zmq_context, "tcp://127.0.0.1:*")
    watch = PeerWatch(router)
    endpoint = router.getsockopt_string(zmq.LAST_ENDPOINT)
    stranger = socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])))
    assert watch.monitor.poll(LIMIT_MS)
    assert watch.update() == (0, False)

    dealer = connect_dealer(zmq_context, endpoint, "c1")
    assert until(watch, 1) is False
    stranger.close()
    assert watch.monitor.poll(LIMIT_MS)
    after_stranger = watch.update()
    dealer.close(linger=0)
    lost = until(watch, 0)

    assert after_stranger == (1, False)
    assert lost is True
    watch.close()


def until(watch: PeerWatch, count: int) -> bool:
    """Wait until that many peers are there; tell whether one was lost meanwhile."""
    peers, lost = watch.update()
    while peers != count:
        assert watch.monitor.poll(LIMIT_MS), f"{peers} peers, not {count} within the limit"
        peers, lost_now = watch.update()
        lost = lost or lost_now
    return lost


def test_wrong_choice_heals() -> None:
    """Where a stranger was taken for the peer its going is told once, and the peer still counts."""
    watch, monitor = make_watch()
    monitor.say(CAME, 7)
    monitor.say(CAME, 8)
    monitor.say(PASSED)  # it was 7's handshake
    assert watch.update() == (1, False)

    monitor.say(GONE, 8)
    stranger_gone = watch.update()
    monitor.say(GONE, 7)
    peer_gone = watch.update()

    assert stranger_gone == (1, True)
    assert peer_gone == (0, True)


def test_unknown_connection_is_ignored() -> None:
    """What went before the watch began is not missed, and a handshake of nobody is none."""
    watch, monitor = make_watch()

    monitor.say(GONE, 5)
    monitor.say(PASSED)

    assert watch.update() == (0, False)


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["come", "pass", "go"]), st.integers(1, 6)), max_size=40
    )
)
def test_no_peer_goes_uncounted(steps: list[tuple[str, int]]) -> None:
    """Whatever comes and goes, each peer is counted, and beyond them only who waits may be."""
    watch, monitor = make_watch()
    waiting: set[int] = set()
    peers: set[int] = set()

    for step, descriptor in steps:
        happens(monitor, step, descriptor, waiting, peers)
        count, _ = watch.update()

        assert len(peers) <= count <= len(peers) + len(waiting)


def happens(
    monitor: Monitor, step: str, descriptor: int, waiting: set[int], peers: set[int]
) -> None:
    """Let a connection come, pass its handshake, or go, where it can."""
    if step == "come" and descriptor not in waiting | peers:
        waiting.add(descriptor)
        monitor.say(CAME, descriptor)
    elif step == "pass" and descriptor in waiting:
        waiting.remove(descriptor)
        peers.add(descriptor)
        monitor.say(PASSED)
    elif step == "go" and descriptor in waiting | peers:
        waiting.discard(descriptor)
        peers.discard(descriptor)
        monitor.say(GONE, descriptor)
