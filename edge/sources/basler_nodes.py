"""The settings of an opened Basler camera: set by name, read back, compared.

GenICam calls a setting a node. Names differ between generations of cameras, so
each setting has its names in the order in which they are tried. What a camera
refuses is told with the key of the config, the value, and what is offered.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edge.sources import CameraSetupError
from edge.sources.basler_library import said

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.sources.basler_library import PylonObject

log = logging.getLogger(__name__)

TOLERANCE = 0.01
"""A camera rounds times and gains to what its sensor can do; more than this is another value."""


class Nodes:
    """One node map of a camera."""

    def __init__(
        self,
        node_map: PylonObject,
        genicam: PylonObject,
        check_time: Callable[[], None] = lambda: None,
    ) -> None:
        """Take a node map of pylon; it is usable while its camera is open.

        Args:
            node_map: pylon's.
            genicam: The module of pypylon.
            check_time: Called before each setting; raises once it has taken too long.
        """
        self._map = node_map
        self._genicam = genicam
        self._check_time = check_time

    def find(self, *names: str) -> PylonObject | None:
        """Return the first node that the camera has and lets be seen now."""
        for name in names:
            try:
                node = self._map.GetNode(name)
                if node is not None and self._genicam.IsAvailable(node):
                    return node
            except self._genicam.GenericException:
                # pypylon before 26 raises where a later one returns a node that is not available.
                continue
        return None

    def settable(self, *names: str) -> PylonObject | None:
        """Return the first node that can be written now."""
        node = self.find(*names)
        return node if node is not None and self._genicam.IsWritable(node) else None

    def offered(self, node: PylonObject) -> list[str]:
        """Return the entries of an enumeration that the camera has."""
        entries = node.GetEntries()
        return [str(one.GetSymbolic()) for one in entries if self._genicam.IsAvailable(one)]

    def choose(self, key: str, value: str, name: str) -> None:
        """Set an enumeration.

        Raises:
            CameraSetupError: There is no such node or entry, or it is not kept.
        """
        node = self._needed(key, value, name)
        offered = self.offered(node)
        if value not in offered:
            msg = f"{key} = {value}: {name} offers only {', '.join(offered)}"
            raise CameraSetupError(msg)
        self._write(key, value, lambda: node.FromString(value))
        _compare(key, value, node.ToString(False, True))

    def switch(self, key: str, *names: str, on: bool) -> None:
        """Set a switch, where the camera has it.

        Raises:
            CameraSetupError: It is refused, or not kept.
        """
        node = self.settable(*names)
        if node is not None:
            self._write(key, on, lambda: node.SetValue(on))
            _compare(key, on, node.GetValue(False, True))

    def set_number(self, key: str, value: float, *names: str) -> None:
        """Set a number by the first of the names that the camera has.

        Raises:
            CameraSetupError: There is no such node, the value is refused, or
                what is read back differs by more than a step and 1 %.
        """
        node = self._needed(key, value, *names)
        self._write(key, value, lambda: node.SetValue(value), _limits(node))
        back = node.GetValue(False, True)
        allowed = 0.0 if isinstance(value, int) else max(_step(node), TOLERANCE * max(value, 1.0))
        if abs(back - value) > allowed:
            _compare(key, value, back)

    def try_number(self, value: int, *names: str) -> None:
        """Set a number that only matters for comfort; that it is refused is no fault."""
        node = self.settable(*names)
        if node is None:
            return
        try:
            node.SetValue(value)
        except self._genicam.GenericException as error:
            log.debug("%s = %d refused: %s", names[0], value, said(error))

    def answers(self, name: str) -> bool:
        """Ask the camera itself for a node's value; tell whether it has such a node."""
        node = self.find(name)
        if node is not None:
            node.GetValue(False, True)
        return node is not None

    def _needed(self, key: str, value: object, *names: str) -> PylonObject:
        node = self.find(*names)
        if node is None:
            msg = f"{key} = {value}: the camera has no {' or '.join(names)}"
            raise CameraSetupError(msg)
        return node

    def _write(self, key: str, value: object, write: Callable[[], None], limits: str = "") -> None:
        self._check_time()
        try:
            write()
        except self._genicam.GenericException as error:
            msg = f"{key} = {value} refused{limits}: {said(error)}"
            raise CameraSetupError(msg) from error


def _compare(key: str, value: object, back: object) -> None:
    if back != value:
        msg = f"{key} = {value} was set, but the camera says {back}"
        raise CameraSetupError(msg)


def _limits(node: PylonObject) -> str:
    least, most, step = node.GetMin(), node.GetMax(), _step(node)
    steps = f" in steps of {step:g}" if step else ""
    return f", the camera takes {least:.10g} to {most:.10g}{steps}"


def _step(node: PylonObject) -> float:
    """Return the increment of a number's node, 0 where it has none."""
    has_one = node.HasInc() if hasattr(node, "HasInc") else True
    return float(node.GetInc()) if has_one else 0.0
