"""A stand-in for pypylon, for what pylon's emulated cameras lack.

The emulator has neither chunk data nor a clock, is never removed nor held by
another program, knows no old names, and keeps whatever is set. Here a camera is
a table of nodes and a queue of buffers behind the part of pylon's interface that
is used.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ingest_rig import FakeClock

from edge.sources.basler import BaslerDevice
from edge.sources.basler_library import Pylon
from edge.sources.genicam_settings import GenicamSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.sources import Capture

MONO8 = 0x01080001
SERIAL = "40012345"
WIDTH, HEIGHT = 8, 6


class StubError(Exception):
    """Stands for ``genicam.GenericException``."""


@dataclass
class StubNode:
    """A number, a switch, or an enumeration."""

    value: Any
    entries: Sequence[str] = ()
    least: float = 0
    most: float = 1e12
    step: float = 0
    available: bool = True
    writable: bool = True
    keep: Callable[[Any], Any] = lambda value: value
    """What the camera makes of a value that is set."""
    history: list[Any] = field(default_factory=list)

    def GetValue(self, _verify: bool = False, _ignore_cache: bool = False) -> Any:  # noqa: FBT001, FBT002, N802
        """Return what the camera holds."""
        return self.value

    def SetValue(self, value: Any) -> None:  # noqa: N802
        """Set, within the limits."""
        if not self.least <= value <= self.most:
            msg = f"Value = {value} must be within limits. : OutOfRangeException thrown in node"
            raise StubError(msg)
        self.history.append(value)
        self.value = self.keep(value)

    def FromString(self, value: str) -> None:  # noqa: N802
        """Choose an entry."""
        self.history.append(value)
        self.value = self.keep(value)

    def ToString(self, _verify: bool = False, _ignore_cache: bool = False) -> str:  # noqa: FBT001, FBT002, N802
        """Return the entry that is chosen."""
        return str(self.value)

    def GetEntries(self) -> list[Any]:  # noqa: N802
        """Return the entries."""
        return [
            SimpleNamespace(GetSymbolic=lambda name=name: name, available=True)
            for name in self.entries
        ]

    def GetIntValue(self) -> int:  # noqa: N802
        """Return the number of the pixel format; a stub has one format."""
        return MONO8

    def GetMin(self) -> float:  # noqa: N802
        """Return the least value."""
        return self.least

    def GetMax(self) -> float:  # noqa: N802
        """Return the largest value."""
        return self.most

    def HasInc(self) -> bool:  # noqa: N802
        """Tell whether values come in steps."""
        return self.step > 0

    def GetInc(self) -> float:  # noqa: N802
        """Return the step."""
        return self.step


class StubMap:
    """A node map that raises for a node it does not have, as pypylon before 26 does."""

    def __init__(self, nodes: dict[str, StubNode]) -> None:
        """Take the nodes by name."""
        self.nodes = nodes

    def GetNode(self, name: str) -> StubNode:  # noqa: N802
        """Return a node."""
        if name not in self.nodes:
            msg = "Node not existing (file 'genicam_wrap.cpp', line 16138)"
            raise StubError(msg)
        return self.nodes[name]


@dataclass
class StubResult:
    """A buffer; whole unless ``error`` is set."""

    data: bytes = bytes(WIDTH * HEIGHT)
    block: int = 0
    ticks: int = 0
    error: str = ""
    code: int = 0
    pixel_type: int = MONO8
    padding: int = 0
    chunks: dict[str, Any] = field(default_factory=dict)
    valid: bool = True
    released: int = 0

    def __getattr__(self, name: str) -> Callable[[], Any]:
        """Return a getter by pylon's name for it."""
        answers = {
            "IsValid": self.valid,
            "GrabSucceeded": not self.error,
            "GetErrorCode": self.code,
            "GetErrorDescription": self.error,
            "GetBlockID": self.block,
            "GetTimeStamp": self.ticks,
            "GetPixelType": self.pixel_type,
            "GetPaddingX": self.padding,
            "GetWidth": WIDTH,
            "GetHeight": HEIGHT,
            "GetOffsetX": 16,
            "GetOffsetY": 4,
            "GetImageMemoryView": memoryview(self.data),
            "IsChunkDataAvailable": bool(self.chunks),
            "GetChunkDataNodeMap": StubMap(
                {key: StubNode(value) for key, value in self.chunks.items()}
            ),
        }
        if name not in answers:
            raise AttributeError(name)
        return lambda: answers[name]

    def Release(self) -> None:  # noqa: N802
        """Give the buffer back."""
        self.released += 1


class StubCamera:
    """A camera that is there once, and may be removed or held by another program."""

    def __init__(self, *, gige: bool = True, **nodes: StubNode) -> None:
        """Begin with the least that every camera has; more or other nodes may be given."""
        least = {
            "PixelFormat": StubNode("Mono8", ("Mono8", "Mono12Packed")),
            "Width": StubNode(WIDTH),
        }
        self.nodes = least | nodes
        self.link: dict[str, StubNode] = {}
        self.gige = gige
        self.results: deque[StubResult] = deque()
        self.refusal = ""
        """What opening raises."""
        self.trigger_refusal = ""
        self.start_refusal = ""
        self.is_removed = False
        self.is_open = False
        self.buffers = StubNode(0)
        self.triggers = 0
        self.destroyed = 0

    MaxNumBuffer = property(lambda self: self.buffers)

    def Open(self) -> None:  # noqa: N802
        """Open, unless it is refused."""
        _refuse(self.refusal)
        self.is_open = True

    def Close(self) -> None:  # noqa: N802
        """Close."""
        self.is_open = False

    def DestroyDevice(self) -> None:  # noqa: N802
        """Forget the device."""
        self.destroyed += 1

    def CanWaitForFrameTriggerReady(self) -> bool:  # noqa: N802
        """Tell that it cannot, as cameras without an acquisition status."""
        return False

    def StartGrabbing(self, _strategy: str) -> None:  # noqa: N802
        """Start, unless it is refused."""
        _refuse(self.start_refusal)

    def RetrieveResult(self, _timeout_ms: int, _handling: str) -> StubResult:  # noqa: N802
        """Return the next buffer, or one that is not valid."""
        return self.results.popleft() if self.results else StubResult(valid=False)

    def ExecuteSoftwareTrigger(self) -> None:  # noqa: N802
        """Count, unless it is refused."""
        _refuse(self.trigger_refusal)
        self.triggers += 1

    def IsCameraDeviceRemoved(self) -> bool:  # noqa: N802
        """Tell whether the cable is out."""
        return self.is_removed

    def IsGigE(self) -> bool:  # noqa: N802
        """Tell which kind of link it has."""
        return self.gige

    def GetNodeMap(self) -> StubMap:  # noqa: N802
        """Return the camera's nodes."""
        return StubMap(self.nodes)

    def GetTLNodeMap(self) -> StubMap:  # noqa: N802
        """Return the link's nodes."""
        return StubMap(self.link)

    def GetDeviceInfo(self) -> Any:  # noqa: N802
        """Return who it is."""
        return SimpleNamespace(GetSerialNumber=lambda: SERIAL)


def stub_pylon(camera: StubCamera) -> Pylon:
    """Return a library that finds this camera alone."""
    factory = SimpleNamespace(
        EnumerateDevices=lambda: [camera.GetDeviceInfo()], CreateDevice=lambda info: info
    )
    api = SimpleNamespace(
        TlFactory=SimpleNamespace(GetInstance=lambda: factory),
        InstantCamera=lambda _info: camera,
        TimeoutHandling_Return="return",
        GrabStrategy_OneByOne="one by one",
    )
    genicam = SimpleNamespace(
        GenericException=StubError,
        IsAvailable=lambda node: node.available,
        IsWritable=lambda node: node.writable,
    )
    return Pylon(api, genicam)


def device_of(camera: StubCamera, **settings: Any) -> BaslerDevice:
    """Return an opened device of this camera."""
    device = BaslerDevice(GenicamSettings(**settings), FakeClock(), lambda: stub_pylon(camera))
    device.open()
    return device


def grabbed(camera: StubCamera, *results: StubResult, **settings: Any) -> list[Capture]:
    """Return what these buffers become."""
    device = device_of(camera, **settings)
    camera.results.extend(results)
    captures = [device.grab(0) for _ in results]
    return [one for one in captures if one is not None]


def trigger_nodes() -> dict[str, StubNode]:
    """Return the nodes of a camera that can be triggered."""
    return {
        "TriggerSelector": StubNode("FrameStart", ("AcquisitionStart", "FrameStart")),
        "TriggerMode": StubNode("Off", ("Off", "On")),
        "TriggerSource": StubNode("Line1", ("Line1", "Software")),
        "TriggerActivation": StubNode("RisingEdge", ("RisingEdge", "FallingEdge")),
    }


def _refuse(message: str) -> None:
    if message:
        raise StubError(message)
