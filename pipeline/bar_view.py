"""A bar on a terminal, plain lines otherwise: what the views of long work have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.progress import Progress

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console
    from rich.progress import ProgressColumn
    from typing_extensions import Self


class BarView:
    """Shows its bar as a context, where there is a terminal."""

    def __init__(
        self, console: Console, *columns: ProgressColumn, auto_refresh: bool = True
    ) -> None:
        """Prepare a bar with these columns, rich's own without any."""
        self._console = console
        self._bar = Progress(
            *columns,
            console=console,
            auto_refresh=auto_refresh,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        self._bar.stop()

    def _say(self, line: str) -> None:
        """Print a line, as it is."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)
