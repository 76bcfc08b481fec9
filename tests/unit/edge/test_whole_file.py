"""Reading a file of one piece: nobody writes to it meanwhile, or it is not read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge.sources import whole_file
from edge.sources.whole_file import Stamp, WholeFileReader, stamp_of

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_S = 30.0
EXT4, NFS = 0xEF53, 0x6969
APPEND = "import sys; open(sys.argv[1], 'ab').write(b'new')"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of three bytes."""
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    return path


@pytest.fixture
def descriptor(file: Path) -> Iterator[int]:
    """The file, open for reading."""
    opened = os.open(file, os.O_RDONLY)
    yield opened
    os.close(opened)


def test_quiet_file_is_read(file: Path) -> None:
    """A file that nobody writes to is read, with the stamp of what was read."""
    reader = WholeFileReader(closed=False)

    assert reader.read(file) == b"old"
    assert (reader.in_use, reader.stamp) == (False, stamp_of(file))


@pytest.mark.parametrize("mode", ["ab", "r+b"])
@pytest.mark.parametrize("closed", [False, True])
def test_file_in_use_is_refused(file: Path, mode: str, closed: bool) -> None:  # noqa: FBT001 - a parameter
    """A file that is open for writing is refused, whatever the caller believes."""
    reader = WholeFileReader(closed=closed)

    with file.open(mode), pytest.raises(ValueError, match="open for writing"):
        reader.read(file)

    assert reader.in_use


@pytest.fixture
def writer_came() -> Iterator[threading.Event]:
    """Set when the kernel tells this process that a writer waits for its lease to end."""
    came = threading.Event()
    before = signal.signal(signal.SIGURG, lambda _signal, _frame: came.set())
    yield came
    signal.signal(signal.SIGURG, before)


def test_writer_waits_for_the_reader(file: Path, writer_came: threading.Event) -> None:
    """While the lease is held a writer waits, and its coming does not end this process."""
    opened = os.open(file, os.O_RDONLY)
    alone = whole_file._is_alone(opened)
    writer = subprocess.Popen([sys.executable, "-c", APPEND, str(file)])
    came = writer_came.wait(LIMIT_S)
    while_read = file.read_bytes()

    os.close(opened)
    writer.wait(LIMIT_S)

    assert alone
    assert came
    assert while_read == b"old"
    assert (writer.returncode, file.read_bytes()) == (0, b"oldnew")


def test_file_that_changes_meanwhile_is_refused(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no lease can be had, a file that changes while it is read is refused as in use."""

    def no_lease(_file: int) -> None:
        file.write_bytes(b"changed")

    monkeypatch.setattr(whole_file, "_is_alone", no_lease)
    reader = WholeFileReader(closed=True)

    with pytest.raises(ValueError, match="changed while"):
        reader.read(file)

    assert reader.in_use


def test_without_leases_the_caller_decides(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no lease can be had, a file is read only if its writer is known to be done."""
    monkeypatch.setattr(whole_file, "_is_alone", lambda _file: None)

    with pytest.raises(ValueError, match="open for writing"):
        WholeFileReader(closed=False).read(file)
    assert WholeFileReader(closed=True).read(file) == b"old"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe, at which a reader would wait for ever, is refused at once; so is a folder."""
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ValueError, match="no regular file"):
            WholeFileReader(closed=True).read(path)


def test_missing_file_has_no_stamp(tmp_path: Path) -> None:
    """A file that is not there has no stamp and cannot be read."""
    reader = WholeFileReader(closed=True)

    with pytest.raises(FileNotFoundError):
        reader.read(tmp_path / "gone")

    assert stamp_of(tmp_path / "gone") is None
    assert reader.stamp is None


def test_lease_of_another_is_in_use(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another program has leased for writing, as Samba does, is in use."""

    def refuse(_path: Path, _flags: int) -> int:
        raise BlockingIOError

    monkeypatch.setattr(whole_file.os, "open", refuse)
    reader = WholeFileReader(closed=True)

    with pytest.raises(ValueError, match="lease"):
        reader.read(file)

    assert reader.in_use


def test_leases_of_network_shares_say_nothing(
    descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a share no lease is asked for: it would only know this host's writers."""
    kinds = {}

    for kind in (EXT4, NFS):
        monkeypatch.setattr(whole_file, "_kind_of_file_system", lambda _file, kind=kind: kind)
        kinds[kind] = whole_file._is_alone(descriptor)

    assert kinds == {EXT4: True, NFS: None}


def test_refused_lease_says_nothing(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of another user, of which the kernel grants no lease, may be in use or not."""

    def refuse(_file: int, _command: int, _value: int) -> int:
        raise PermissionError

    monkeypatch.setattr(whole_file.fcntl, "fcntl", refuse)

    assert whole_file._is_alone(descriptor) is None


def test_kind_of_a_local_file_system_is_read() -> None:
    """The kind that statfs tells is a number of the kernel's: that of /proc is 0x9fa0."""
    opened = os.open("/proc/self/stat", os.O_RDONLY)

    kind = whole_file._kind_of_file_system(opened)
    os.close(opened)

    assert kind == 0x9FA0
    assert whole_file._kind_of_file_system(opened) == 0, "of a descriptor that is closed"


def test_remote_folders_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is another host's if its file system is a network's."""
    here = whole_file.is_remote(tmp_path)
    monkeypatch.setattr(whole_file, "_kind_of_file_system", lambda _file: NFS)

    assert not here
    assert whole_file.is_remote(tmp_path)
    with pytest.raises(FileNotFoundError):
        whole_file.is_remote(tmp_path / "gone")


@pytest.mark.parametrize(
    ("other", "time_only"),
    [((1, 2, 3), False), ((1, 2, 4), True), ((1, 3, 3), False), ((2, 2, 4), False)],
)
def test_stamps_are_compared(other: tuple[int, int, int], *, time_only: bool) -> None:
    """Stamps differ in time only if they are of one file of one size."""
    assert Stamp(1, 2, 3).differs_in_time_only(Stamp(*other)) == time_only
