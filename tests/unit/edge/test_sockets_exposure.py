"""Endpoints: nothing beyond this host without keys, no local socket for strangers."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.endpoints import EndpointError, ExposedEndpointError, check_exposure, is_loopback
from edge.keys import load_keys, make_keys
from edge.sockets import bind_router, connect_dealer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.sockets import Context

LIMIT_MS = 5_000
POSIX = pytest.mark.skipif(os.name == "nt", reason="a file's mode says nothing on Windows")

LOCAL = ("127.0.0.1", "127.9.9.9", "localhost", "[::1]")
OPEN = ("*", "0.0.0.0", "[::]", "192.0.2.7", "10.0.0.5", "[2001:db8::1]", "169.254.1.1")  # noqa: S104 - refused here


@pytest.mark.parametrize("host", LOCAL)
def test_loopback_needs_no_keys(host: str) -> None:
    """What only this host can reach may be used in the clear."""
    check_exposure(f"tcp://{host}:5000", has_keys=False)


@pytest.mark.parametrize("host", OPEN)
def test_public_address_is_refused(zmq_context: Context, host: str) -> None:
    """Without keys a public address is neither bound nor connected to; the remedy is named."""
    endpoint = f"tcp://{host}:5000"

    with pytest.raises(ExposedEndpointError, match="musc-edge keys") as bound:
        bind_router(zmq_context, endpoint)
    with pytest.raises(ExposedEndpointError, match="musc-edge keys") as connected:
        connect_dealer(zmq_context, endpoint, "c1")

    assert str(bound.value) == str(connected.value)
    assert str(bound.value).startswith(f"{endpoint} without keys: ")
    assert bound.value.exit_code == 2


@pytest.mark.parametrize("host", OPEN)
def test_keys_open_the_address(host: str) -> None:
    """With keys any address may be used."""
    check_exposure(f"tcp://{host}:5000", has_keys=True)


def test_interface_name_is_refused() -> None:
    """The name of a network interface is what libzmq would bind; it counts as public."""
    _, name = socket.if_nameindex()[0]

    with pytest.raises(ExposedEndpointError, match=f"{name} is a network interface"):
        check_exposure(f"tcp://{name}:5000", has_keys=False)


def test_name_counts_by_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is local where all of its addresses are, and refused where one is not."""
    answers = {"here": ["127.0.1.1", "::1"], "both": ["127.0.0.1", "192.0.2.7"]}

    def resolve(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", (address, 0)) for address in answers[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    assert is_loopback("here")
    assert not is_loopback("both")
    with pytest.raises(ExposedEndpointError, match="both is not a loopback address"):
        check_exposure("tcp://both:5000", has_keys=False)


def test_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that cannot be resolved cannot be shown to be this host."""

    def nobody(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)

    with pytest.raises(ExposedEndpointError, match=r"scorer cannot be resolved \(Name or service"):
        check_exposure("tcp://scorer:5000", has_keys=False)


def test_name_that_is_none_is_refused() -> None:
    """What cannot be a host name is refused like a name that nobody knows."""
    with pytest.raises(ExposedEndpointError, match="xxx cannot be resolved"):
        check_exposure(f"tcp://{'x' * 70}:5000", has_keys=False)


def test_destination_counts_not_the_source() -> None:
    """Of libzmq's "source;destination" the destination decides."""
    check_exposure("tcp://192.0.2.7:0;127.0.0.1:5000", has_keys=False)

    with pytest.raises(ExposedEndpointError, match=r"192\.0\.2\.7"):
        check_exposure("tcp://127.0.0.1:0;192.0.2.7:5000", has_keys=False)


@settings(max_examples=50, deadline=None)
@given(address=st.ip_addresses(v=4))
def test_only_127_is_this_host(address: object) -> None:
    """Of all IPv4 addresses exactly 127.0.0.0/8 is local."""
    assert is_loopback(str(address)) == str(address).startswith("127.")


@pytest.fixture
def no_umask() -> Iterator[None]:
    """Run as in a container that masks no permissions."""
    before = os.umask(0)
    yield
    os.umask(before)


@POSIX
@pytest.mark.usefixtures("no_umask")
def test_new_ipc_folder_is_private(zmq_context: Context, ipc_folder: Path) -> None:
    """A folder that is made for a socket belongs to its owner alone; the socket to no others."""
    bind_router(zmq_context, f"ipc://{ipc_folder}/new/s")

    assert mode(ipc_folder / "new") == 0o700
    assert mode(ipc_folder / "new" / "s") & stat.S_IRWXO == 0


@POSIX
@pytest.mark.usefixtures("no_umask")
def test_existing_ipc_folder_is_left(zmq_context: Context, ipc_folder: Path) -> None:
    """The mode of a folder that is there is its owner's choice; the socket is closed to others."""
    ipc_folder.chmod(0o755)

    bind_router(zmq_context, f"ipc://{ipc_folder}/s")

    assert mode(ipc_folder) == 0o755
    assert mode(ipc_folder / "s") & stat.S_IRWXO == 0


def test_abstract_socket_is_refused(zmq_context: Context) -> None:
    """A socket without a file has no permissions, and is refused."""
    with pytest.raises(EndpointError, match="ipc://@line: any user could connect"):
        bind_router(zmq_context, "ipc://@line")


def test_keys_leave_ipc_alone(zmq_context: Context, ipc_endpoint: str, tmp_path: Path) -> None:
    """On ipc keys change nothing: a peer without them is let in."""
    make_keys(tmp_path / "keys")
    bind_router(zmq_context, ipc_endpoint, keys=load_keys(tmp_path / "keys"))

    dealer = connect_dealer(zmq_context, ipc_endpoint, "c1")

    assert dealer.poll(LIMIT_MS, zmq.POLLOUT)


def test_ipv6_loopback_is_bound(zmq_context: Context) -> None:
    """An IPv6 address in brackets is bound and reached."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")

    router = bind_router(zmq_context, "tcp://[::1]:*")
    dealer = connect_dealer(zmq_context, router.getsockopt_string(zmq.LAST_ENDPOINT), "c1")

    assert dealer.poll(LIMIT_MS, zmq.POLLOUT)


def mode(path: Path) -> int:
    """Return the permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)
