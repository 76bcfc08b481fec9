"""Sockets: nothing queues for a dead peer, a lost peer is noticed, a bad endpoint is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import zmq

from edge.endpoints import IPC_PATH_LIMIT, EndpointError, free_port
from edge.sockets import (
    HIGH_WATER_NOTES,
    LINGER_MS,
    LOOPBACK_SEND_BYTES,
    Context,
    PeerWatch,
    Socket,
    bind_router,
    connect_dealer,
    receive_all,
    try_send,
)

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_MS = 5_000


def wait_for_peer(dealer: Socket) -> None:
    """Wait until the other side has taken the connection."""
    assert dealer.poll(LIMIT_MS, zmq.POLLOUT), "no peer within the limit"


def wait_for_message(socket: Socket) -> None:
    """Wait until there is something to receive."""
    assert socket.poll(LIMIT_MS), "no message within the limit"


def test_both_directions(zmq_context: Context, ipc_endpoint: str) -> None:
    """A DEALER is answered under the name it connected with."""
    router = bind_router(zmq_context, ipc_endpoint)
    dealer = connect_dealer(zmq_context, ipc_endpoint, "c1")
    wait_for_peer(dealer)

    asked = try_send(dealer, [b"head", memoryview(b"body")])
    wait_for_message(router)
    question = [bytes(part) for part in receive_all(router)[0]]
    answered = try_send(router, [question[0], b"yes"])
    wait_for_message(dealer)

    assert asked
    assert answered
    assert question == [b"c1", b"head", b"body"]
    assert [[bytes(part) for part in parts] for parts in receive_all(dealer)] == [[b"yes"]]


@pytest.mark.parametrize(
    ("endpoint", "send_bytes"),
    [
        ("tcp://127.0.0.1:{port}", LOOPBACK_SEND_BYTES),
        ("tcp://localhost:{port}", LOOPBACK_SEND_BYTES),
        ("ipc://{folder}/s", -1),
    ],
)
def test_little_waits_in_a_loopback_connection(
    zmq_context: Context, ipc_folder: Path, endpoint: str, send_bytes: int
) -> None:
    """The kernel's own limit holds for every connection that does not stay within tcp loopback."""
    given = endpoint.format(port=free_port(), folder=ipc_folder)

    sockets = bind_router(zmq_context, given), connect_dealer(zmq_context, given, "c1")

    assert [socket.getsockopt(zmq.SNDBUF) for socket in sockets] == [send_bytes] * 2


def test_large_message_crosses_a_small_buffer(zmq_context: Context) -> None:
    """A message many times as large as the send buffer arrives whole."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    router = bind_router(zmq_context, endpoint)
    dealer = connect_dealer(zmq_context, endpoint, "c1")
    wait_for_peer(dealer)
    body = bytes(range(256)) * (40 * LOOPBACK_SEND_BYTES // 256)

    assert try_send(dealer, [b"head", memoryview(body)])
    wait_for_message(router)

    assert bytes(receive_all(router)[0][-1]) == body


def test_nothing_queues_for_nobody(zmq_context: Context, ipc_endpoint: str) -> None:
    """Without a peer a message is refused; a peer that comes later gets later messages only."""
    dealer = connect_dealer(zmq_context, ipc_endpoint, "c1")

    refused = try_send(dealer, [b"too early"])
    router = bind_router(zmq_context, ipc_endpoint)
    wait_for_peer(dealer)
    taken = try_send(dealer, [b"in time"])
    wait_for_message(router)

    assert (refused, taken) == (False, True)
    assert [bytes(parts[1]) for parts in receive_all(router)] == [b"in time"]


def test_unknown_receiver_is_refused(zmq_context: Context, ipc_endpoint: str) -> None:
    """A ROUTER that must know its peers refuses one it does not know, without an exception."""
    router = bind_router(zmq_context, ipc_endpoint)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)

    assert not try_send(router, [b"nobody", b"hello"])


def test_other_socket_errors_are_raised(zmq_context: Context, ipc_endpoint: str) -> None:
    """Only an absent peer is a refusal; a closed socket is a fault of the program."""
    dealer = connect_dealer(zmq_context, ipc_endpoint, "c1")
    dealer.close()

    with pytest.raises(zmq.ZMQError):
        try_send(dealer, [b"hello"])


def test_receive_takes_at_most_its_limit(zmq_context: Context, ipc_endpoint: str) -> None:
    """What is over the limit waits for the next call, in order; nothing waiting is no wait."""
    router = bind_router(zmq_context, ipc_endpoint)
    dealer = connect_dealer(zmq_context, ipc_endpoint, "c1")
    wait_for_peer(dealer)
    for number in range(5):
        assert try_send(dealer, [b"%d" % number])

    arrived: list[bytes] = []
    sizes = []
    while len(arrived) < 5:
        wait_for_message(router)
        batch = receive_all(router, limit=2)
        sizes.append(len(batch))
        arrived += [bytes(parts[1]) for parts in batch]

    assert arrived == [b"0", b"1", b"2", b"3", b"4"]
    assert max(sizes) == 2
    assert receive_all(router) == []


def test_big_parts_arrive_as_views(zmq_context: Context, ipc_endpoint: str) -> None:
    """A picture of a megabyte arrives whole, as a view on the buffer that ZeroMQ filled."""
    router = bind_router(zmq_context, ipc_endpoint)
    dealer = connect_dealer(zmq_context, ipc_endpoint, "c1")
    wait_for_peer(dealer)
    picture = bytes(range(256)) * 4096

    assert try_send(dealer, [b"head", memoryview(picture)])
    wait_for_message(router)
    (_, _, body) = receive_all(router)[0]

    assert isinstance(body, memoryview)
    assert body == picture


def test_a_restarted_peer_takes_over_its_name(zmq_context: Context, ipc_endpoint: str) -> None:
    """Of two peers with one name the latest is answered: a killed process leaves no ghost."""
    router = bind_router(zmq_context, ipc_endpoint)
    first = connect_dealer(zmq_context, ipc_endpoint, "c1")
    wait_for_peer(first)
    assert try_send(first, [b"first"])
    wait_for_message(router)
    receive_all(router)

    second = connect_dealer(zmq_context, ipc_endpoint, "c1")
    wait_for_peer(second)
    assert try_send(second, [b"second"])
    wait_for_message(router)
    receive_all(router)
    assert try_send(router, [b"c1", b"answer"])

    wait_for_message(second)
    assert first.poll(0) == 0


def test_watch_counts_peers(zmq_context: Context, ipc_endpoint: str) -> None:
    """A peer that connects is counted; one that closes is missed, and told of once."""
    router = bind_router(zmq_context, ipc_endpoint)
    watch = PeerWatch(router)
    assert watch.update() == (0, False)

    dealers = [connect_dealer(zmq_context, ipc_endpoint, name) for name in ("a", "b")]
    assert watch_until(watch, count=2) is False
    dealers[0].close(linger=0)
    lost = watch_until(watch, count=1)

    assert lost is True
    assert watch.update() == (1, False)
    watch.close()


def watch_until(watch: PeerWatch, count: int) -> bool:
    """Wait until that many peers are there; tell whether one was lost meanwhile."""
    peers, lost = watch.update()
    while peers != count:
        assert watch.monitor.poll(LIMIT_MS), f"{peers} peers, not {count} within the limit"
        peers, lost_now = watch.update()
        lost = lost or lost_now
    return lost


def test_every_socket_has_limits(zmq_context: Context, ipc_endpoint: str) -> None:
    """No socket queues without end, and none holds the process for longer than its linger."""
    sockets = (
        bind_router(zmq_context, ipc_endpoint),
        connect_dealer(zmq_context, ipc_endpoint, "c1"),
    )

    for socket in sockets:
        assert socket.getsockopt(zmq.LINGER) == LINGER_MS
        assert socket.getsockopt(zmq.SNDHWM) == socket.getsockopt(zmq.RCVHWM) == HIGH_WATER_NOTES


def test_long_path_is_refused(zmq_context: Context, ipc_folder: Path) -> None:
    """An ipc path over the limit is refused with its length, and no socket stays behind."""
    name = "s" * (IPC_PATH_LIMIT + 1 - len(str(ipc_folder)) - 1)
    endpoint = f"ipc://{ipc_folder}/{name}"

    with pytest.raises(EndpointError, match="101 characters, an ipc path has at most 100"):
        bind_router(zmq_context, endpoint)

    zmq_context.term()
    assert zmq_context.closed


def test_path_at_the_limit_is_bound(zmq_context: Context, ipc_endpoint: str) -> None:
    """A path of exactly the limit can be bound and reached; missing folders are made."""
    folder = ipc_endpoint + "d"
    endpoint = f"{folder}/" + "s" * (IPC_PATH_LIMIT + len("ipc://") - len(folder) - 1)

    router = bind_router(zmq_context, endpoint)
    dealer = connect_dealer(zmq_context, endpoint, "c1")

    wait_for_peer(dealer)
    router.close(linger=0)


def test_folder_that_is_a_file_is_named(zmq_context: Context, tmp_path: Path) -> None:
    """Where the folder of a path cannot be made the error names endpoint and reason."""
    (tmp_path / "f").write_text("")

    with pytest.raises(EndpointError, match=r"f/s: cannot make its folder: File exists"):
        bind_router(zmq_context, f"ipc://{tmp_path}/f/s")


def test_taken_port_is_named(zmq_context: Context) -> None:
    """A tcp port in use is refused by name, and no socket stays behind."""
    first = bind_router(zmq_context, "tcp://127.0.0.1:*")
    taken = first.getsockopt_string(zmq.LAST_ENDPOINT)

    with pytest.raises(EndpointError, match=f"cannot bind {taken}: the address is in use"):
        bind_router(zmq_context, taken)

    first.close(linger=0)
    zmq_context.term()
    assert zmq_context.closed


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1", "carrier-pigeon://loft", "tcp://127.0.0.1:y"]
)
def test_nonsense_is_refused(zmq_context: Context, endpoint: str) -> None:
    """What is no endpoint is refused by name on both sides, and no socket stays behind."""
    with pytest.raises(EndpointError, match=f"cannot bind {endpoint}"):
        bind_router(zmq_context, endpoint)
    with pytest.raises(EndpointError, match=f"cannot connect to {endpoint}"):
        connect_dealer(zmq_context, endpoint, "c1")

    zmq_context.term()
    assert zmq_context.closed
