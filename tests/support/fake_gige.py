"""Debian's fake GigE Vision camera as a process, to be killed and started again.

It speaks the real protocol to the real Aravis, on the loopback address, at the
one port that GigE Vision has: so one test of a machine has it at a time, and
the others wait. Its pictures are a moving ramp, in colour where the format is;
its frame ids begin at 65400 and come round after 135 pictures.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from edge.sources import CameraBusyError, SourceError
from edge.sources.aravis_library import Library, load_aravis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.sources.aravis import AravisDevice

ADDRESS = "127.0.0.1"
PROGRAM = "arv-fake-gv-camera-0.8"
LIMIT_S = 10.0
CONTROL_PORT = 3956
DISCOVERY = bytes.fromhex("4201000200000001")
"""GVCP: key, flag 'acknowledge', command DISCOVERY, no data, request 1."""
PIXEL_FORMATS = {"Mono12": 0x0110_0005, "Mono12p": 0x010C_0047, "BayerRG12": 0x0110_0011}
"""Formats that the fake camera can be told to offer: it sends as many bytes, of noise."""
GAIN_IN_DB = """
<Float Name="Gain"><pValue>GainConverter</pValue><Min>0</Min><Max>10</Max></Float>
<Converter Name="GainConverter">
  <FormulaTo>FROM</FormulaTo><FormulaFrom>TO</FormulaFrom><pValue>GainRawRegister</pValue>
</Converter>
"""


def need_aravis() -> Library:
    """Return Aravis; skip on a laptop without it, fail in CI."""
    try:
        return load_aravis()
    except SourceError as error:
        _give_up(str(error))


def _give_up(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class FakeGige:
    """The fake camera of one serial number, at ``ADDRESS``."""

    def __init__(self, program: str, serial: str, options: tuple[str, ...]) -> None:
        """Prepare; nothing runs yet."""
        self.camera_id = f"Aravis-Fake-{serial}"
        self._arguments = [program, "-i", ADDRESS, "-s", serial, *options]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it, and wait until it answers; return how long that took, in seconds."""
        began = time.monotonic()
        self._process = subprocess.Popen(
            self._arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while not _answers():
            assert self._process.poll() is None, f"{self._arguments} ended"
            assert time.monotonic() < began + LIMIT_S, f"{self._arguments} does not answer"
        return time.monotonic() - began

    def kill(self) -> None:
        """End it as a cut supply would; more calls do nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(LIMIT_S)
            self._process = None


@contextmanager
def fake_gige(serial: str = "T1", *options: str) -> Iterator[FakeGige]:
    """Have the machine's one fake camera, running; whatever the test does, it does not stay.

    Args:
        serial: Its serial number.
        options: More of its command line: ``-r 300`` loses 300 of 1000 packets,
            ``-g FILE`` takes another description of its features.
    """
    need_aravis()
    program = shutil.which(PROGRAM)
    if program is None:
        _give_up(f"{PROGRAM} is not installed (Debian: aravis-tools)")
    turn = Path(tempfile.gettempdir()) / f"{PROGRAM}.{os.getuid()}.lock"
    with turn.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        camera = FakeGige(program, serial, options)
        try:
            camera.start()
            yield camera
        finally:
            camera.kill()


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for what a thread brings about, as the one that releases a camera."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {LIMIT_S} s"
        time.sleep(0.01)


def open_once_free(device: AravisDevice) -> None:
    """Open a camera that was closed lately: a thread may still say goodbye to it."""

    def opens() -> bool:
        try:
            device.open()
        except CameraBusyError:
            return False
        return True

    until(opens, "the camera is free")


def describe_better(library: Library, folder: Path) -> Path:
    """Describe a better camera than the fake one says it is; return the file for ``-g``.

    Only the description is better, the registers behind it are the fake
    camera's own: it takes part in the whole protocol. It has an input Line1, falling
    edges, 12 bits, gain in dB in steps of one, and regions in steps of 8 pixels.
    """
    xml, _ = library.api.FakeCamera.new("any").get_genicam_xml()
    entries = {
        "TriggerSourceRegister": {"Line1": 5},
        "TriggerActivationRegister": {"FallingEdge": 1},
        "PixelFormatRegister": PIXEL_FORMATS | {"Confidence8": 0x0108_00C6},
    }
    for register, values in entries.items():
        more = "".join(_entry(name, value) for name, value in values.items())
        xml = _replace(xml, f"<pValue>{register}</pValue>", f"{more}<pValue>{register}</pValue>")
    xml = _replace(xml, "<pFeature>GainRaw</pFeature>", "<pFeature>Gain</pFeature>")
    xml = _replace(xml, '<Integer Name="GainRaw"', f'{GAIN_IN_DB}<Integer Name="GainRaw"')
    width = r"<Min>1</Min>(\s*<pMax>SensorWidth</pMax>\s*)<Inc>1</Inc>"
    xml, found = re.subn(width, r"<Min>8</Min>\1<Inc>8</Inc>", xml)
    assert found == 1, "the fake camera's description has another Width"
    file = folder / "genicam.xml"
    file.write_text(xml)
    return file


def _entry(name: str, value: int) -> str:
    return f'<EnumEntry Name="{name}"><Value>{value}</Value></EnumEntry>'


def _replace(xml: str, old: str, new: str) -> str:
    assert xml.count(old) == 1, f"the fake camera's description has not one {old}"
    return xml.replace(old, new)


def _answers() -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(0.05)
        try:
            asking.connect((ADDRESS, CONTROL_PORT))
            asking.send(DISCOVERY)
            return bool(asking.recv(1024))
        except OSError:
            time.sleep(0.01)
            return False
