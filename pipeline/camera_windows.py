"""The memory of all cameras under the recipe in use: taken up, changed, written down.

Each camera has an intake, which knows what its frames are like, and a ``RegionStream``
for each of its regions. With snapshots given, what was kept of a recipe is read when the
recipe begins, and a camera goes on with it at its first frame if that is like those
before; else its windows begin empty, with the reason in the log, and the recipe's good
images pinned, where there are any.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from edge.contract import State
from pipeline.camera_intake import CameraIntake, FrameRefusedError
from pipeline.config_geometry import GeometrySettings
from pipeline.references import References
from pipeline.region_stream import RegionStream
from pipeline.snapshots import Snapshots, Subject, config_hash, what_shapes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.frame import Frame
    from musc.backbone import Backbone
    from musc.pair_memory import PairMemory
    from pipeline.config import Config
    from pipeline.inspection import StreamEvent
    from pipeline.regions import View

log = logging.getLogger(__name__)


class StreamKey(NamedTuple):
    """What has a window of its own."""

    camera: str
    region: int
    recipe: str


@dataclass(slots=True)
class CameraWindows:
    """One camera's memory."""

    intake: CameraIntake
    streams: list[tuple[StreamKey, RegionStream]] = field(default_factory=list)
    """In the order of the view's regions; none before the first usable frame."""
    state: State = "WARMING"
    """As of the last scored frame."""
    changed: bool = False
    """Whether a snapshot of before is older."""
    news: tuple[StreamEvent, ...] = ()
    """What its next inspection has to tell of how its windows began."""


class _Kept(NamedTuple):
    """What a snapshot holds, until the first frame says whether it fits."""

    layout: str
    state: State
    streams: list[RegionStream]


class LineWindows:
    """The memories of all cameras."""

    def __init__(
        self,
        config: Config,
        backbone: Backbone,
        model: str,
        memory: PairMemory | None = None,
        snapshots: Snapshots | None = None,
    ) -> None:
        """Begin with the config's recipe.

        Args:
            config: The line's settings.
            backbone: Where tokens come from.
            model: Its digest; windows of another are of no use.
            memory: Pairs that were compared before.
            snapshots: What is kept; nothing is without.
        """
        self._config = config
        self._backbone = backbone
        self._model = model
        self._memory = memory
        self._snapshots = snapshots
        self._geometry: dict[str, GeometrySettings] = {one.id: one for one in config.camera}
        self._references = References(config, backbone)
        self._cameras: dict[str, CameraWindows] = {}
        self._kept: dict[str, _Kept] = {}
        self.recipe = config.line.recipe
        """The recipe that frames are inspected under now."""
        self._read()

    def __contains__(self, camera: str) -> bool:
        """Tell whether a camera has sent a frame."""
        return camera in self._cameras

    @property
    def keys(self) -> tuple[StreamKey, ...]:
        """What has a window now."""
        return tuple(key for camera in self._cameras.values() for key, _ in camera.streams)

    def camera(self, name: str) -> CameraWindows:
        """Return a camera's memory; a new one where it has none."""
        if name not in self._cameras:
            geometry = self._geometry.get(name, GeometrySettings())
            kept = self._kept.get(name)
            self._cameras[name] = CameraWindows(CameraIntake(geometry, self._backbone))
            self._cameras[name].state = "WARMING" if kept is None else kept.state
        return self._cameras[name]

    def streams(self, camera: str | None) -> list[RegionStream]:
        """Return the streams of one camera, or of all; also those that wait for a first frame."""
        chosen = [one for name, one in self._cameras.items() if camera in {None, name}]
        waiting = [kept for name, kept in self._kept.items() if camera in {None, name}]
        return [
            *(stream for one in chosen for _, stream in one.streams),
            *(stream for kept in waiting for stream in kept.streams),
        ]

    def streams_of(self, frame: Frame, view: View) -> list[RegionStream]:
        """Return the streams of a frame's regions; they begin with a camera's first frame.

        Raises:
            FrameRefusedError: The camera's good images cannot be pinned. Its windows have not
                begun, and the next frame may be of another layout.
        """
        name = frame.key.camera
        camera = self.camera(name)
        if not camera.streams:
            streams = self._taken_up(name, camera, view)
            if streams is None:
                streams = [self._new_stream(len(view.regions)) for _ in view.regions]
                try:
                    begun = self._references.pin(frame, self.recipe, camera.intake, streams)
                except (FrameRefusedError, MemoryError, RuntimeError):
                    del self._cameras[name]
                    raise
                camera.news = begun
            keys = [StreamKey(name, region.number, self.recipe) for region in view.regions]
            camera.streams = list(zip(keys, streams, strict=True))
        return [stream for _, stream in camera.streams]

    def change_recipe(self, recipe: str) -> None:
        """Let the windows go, and go on with what is kept of another recipe."""
        if recipe == self.recipe:
            return
        self.keep_all()
        self._cameras.clear()
        self.recipe = recipe
        self._read()

    def reset(self, camera: str | None = None) -> None:
        """Let the windows of one camera go, or of all, and what is kept of them."""
        names = [camera] if camera is not None else [*{*self._cameras, *self._geometry}]
        for name in names:
            self._cameras.pop(name, None)
            self._kept.pop(name, None)
            if self._snapshots is not None:
                self._snapshots.forget(Subject(name, self.recipe))

    def news(self, name: str) -> tuple[StreamEvent, ...]:
        """Return what is to be told of how a camera's windows began, once."""
        camera = self.camera(name)
        news, camera.news = camera.news, ()
        return news

    def inspected(self, name: str, state: State) -> None:
        """Take note of the state after a frame; another one is written down soon."""
        camera = self._cameras[name]
        if state != camera.state and self._snapshots is not None:
            self._snapshots.hasten(name)
        camera.state, camera.changed = state, True

    def told(self, camera: str | None = None) -> None:
        """Take note that a person has changed the windows of one camera, or of all."""
        for name, one in self._cameras.items():
            if camera in {None, name} and one.streams:
                one.changed = True
                if self._snapshots is not None:
                    self._snapshots.hasten(name)

    def due(self, *, idle: bool) -> bool:
        """Tell whether :meth:`keep` should be called; ``idle`` where no frame waits."""
        return self._next(idle=idle) is not None

    def keep(self, *, idle: bool) -> None:
        """Write a camera's windows down that are due, between two frames."""
        if (name := self._next(idle=idle)) is not None:
            self._put(name)

    def keep_all(self) -> None:
        """Write down all windows that have changed; they are on the disk, or a warning told."""
        self._note_owed()
        for name, camera in self._cameras.items():
            if camera.changed:
                self._put(name)
        if self._snapshots is not None:
            self._snapshots.wait()

    def _next(self, *, idle: bool) -> str | None:
        if self._snapshots is None:
            return None
        self._note_owed()
        changed = (name for name, one in self._cameras.items() if one.changed)
        return next((name for name in changed if self._snapshots.due(name, idle=idle)), None)

    def _note_owed(self) -> None:
        """What could not be written is still to be."""
        owed = self._snapshots.owed() if self._snapshots is not None else set()
        for name in owed & self._cameras.keys():
            self._cameras[name].changed = True

    def _put(self, name: str) -> None:
        camera = self._cameras[name]
        camera.changed = False
        if self._snapshots is not None and camera.streams:
            about = {**self._about(name), "layout": camera.intake.layout}
            self._snapshots.put(Subject(name, self.recipe), about, lambda: _copied(camera))

    def _read(self) -> None:
        """Take what is kept of the recipe's cameras."""
        self._kept.clear()
        self._references.recipe_begins()
        if self._snapshots is None:
            return
        for name in self._geometry:
            kept = self._restored(name, self._snapshots)
            if kept is not None:
                self._kept[name] = kept

    def _restored(self, name: str, snapshots: Snapshots) -> _Kept | None:
        """Return the streams of a snapshot; None where there is none, or it is refused."""
        found = snapshots.find(Subject(name, self.recipe), self._about(name))
        if found is None:
            return None
        try:
            regions = found["regions"]
            streams = [self._new_stream(len(regions)) for _ in regions]
            for stream, state in zip(streams, regions.values(), strict=True):
                stream.restore(state)
            return _Kept(found["layout"], _state(found["state"]), streams)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            self._refuse(name, f"{type(error).__name__}: {error}")
            return None

    def _taken_up(self, name: str, camera: CameraWindows, view: View) -> list[RegionStream] | None:
        kept = self._kept.pop(name, None)
        if kept is None:
            return None
        if kept.layout != camera.intake.layout or len(kept.streams) != len(view.regions):
            self._refuse(name, f"frames are {camera.intake.layout}, the snapshot's {kept.layout}")
            camera.state = "WARMING"
            return None
        return kept.streams

    def _refuse(self, name: str, why: str) -> None:
        recipe = self.recipe
        log.warning("camera %s, recipe %s: windows begin empty: %s", name, recipe, why)

    def _new_stream(self, regions: int) -> RegionStream:
        backbone = self._backbone
        return RegionStream(
            self._config, backbone.device, backbone.image_size, regions, self._memory
        )

    def _about(self, name: str) -> dict[str, Any]:
        """Return what windows must have in common to be of use to each other."""
        good = self._references.digest(name, self.recipe)
        settings = what_shapes(self._config, name, good)
        return {
            "model": self._model,
            "device": self._backbone.device.type,
            "camera": name,
            "recipe": self.recipe,
            "config": config_hash(settings),
            "settings": settings,
        }


def _copied(camera: CameraWindows) -> Mapping[str, Any]:
    regions = {str(key.region): stream.state() for key, stream in camera.streams}
    return {"layout": camera.intake.layout, "state": camera.state, "regions": regions}


def _state(text: str) -> State:
    """Return a stream's state.

    Raises:
        ValueError: It is none.
    """
    for known in get_args(State):
        if text == known:
            state: State = known
            return state
    msg = f"state = {text!r}: must be one of {', '.join(get_args(State))}"
    raise ValueError(msg)
