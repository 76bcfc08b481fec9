"""Pins by consensus: once a window is full for the first time, its most usual frames stay.

Nobody has to look at a picture for it. Of each of as many equal stretches of the window as
there is room for pins, the frame stays that resembles all others most, by the score that it
has against the voters of now; spread in time, so that no short episode is all that is kept.
A stretch in which every frame is unusual keeps none. It is done once for a window: what a
person has let go is not taken again before the window begins anew.

``consider`` says which frames it would be and changes nothing, ``keep`` pins them,
``withdraw`` forgets it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pipeline.inspection import StreamEvent

if TYPE_CHECKING:
    from pipeline.arrival import Arrival, StreamNews
    from pipeline.config_method import WindowSettings
    from pipeline.lookalikes import Flags
    from pipeline.stream_window import StreamWindow
    from pipeline.window_scores import WindowScores


class ConsensusPins:
    """Chooses the pins of one window, once."""

    def __init__(self, settings: WindowSettings, window: StreamWindow, looks: WindowScores) -> None:
        """Choose among the frames of ``window``, which ``looks`` looks at."""
        self._settings = settings
        self._window = window
        self._looks = looks
        self._chosen: list[int] | None = None
        self.done = settings.pins != "consensus"
        """Whether nothing will be pinned any more; all that a restart needs."""

    def consider(self, slot: int, arrival: Arrival, ignored: Flags, news: StreamNews) -> StreamNews:
        """Tell, where the newest frame fills the window, which frames will be pinned.

        Args:
            slot: Where it is.
            arrival: How it was scored.
            ignored: [P], patches that have no say.
            news: What it means otherwise.

        Returns:
            The news, with an event where the window is full for the first time.
        """
        self._chosen = None
        full = len(self._window.peers) + 1 >= self._settings.size_frames
        if self.done or not full or news.admission != "peer" or news.degraded:
            return news
        self._chosen = self._most_usual(slot, arrival, ignored)
        parts = [self._window[one].frame.part for one in self._chosen]
        event = StreamEvent(kind="pinned", detail={"by": "consensus", "parts": parts})
        return replace(news, events=(*news.events, event))

    def keep(self) -> None:
        """Pin what was considered last, but for what has lost its vote by the same frame."""
        if self._chosen is None:
            return
        chosen, self._chosen = self._chosen, None
        for slot in chosen:
            if slot in self._window and self._window[slot].place == "peer":
                self._window.move(slot, "pin")
        self.done = True

    def withdraw(self) -> None:
        """Forget what was considered last."""
        self._chosen = None

    def _most_usual(self, slot: int, arrival: Arrival, ignored: Flags) -> list[int]:
        settings, peers = self._settings, self._window.peers
        room = settings.pins_frames - len(self._window.pins)
        # Those that are pinned may not vote any more; a line that is ready must stay so.
        room = min(room, settings.size_frames - settings.min_peers)
        if room < 1:
            return []
        unusual = arrival.unusual
        scores = {
            peer: self._looks.at(peer, ignored, unusual, at_first=True).score for peer in peers
        } | {slot: arrival.look.score}
        best = (
            min(map(int, one), key=scores.__getitem__) for one in np.array_split([*scores], room)
        )
        return [one for one in best if unusual is None or scores[one] < unusual]
