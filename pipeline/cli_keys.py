"""``musc-edge keys``: the CURVE keys of a line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HINT = """\
Set on every host of the line, in config.toml:

[transport]
keys_path = "{folder}"

Copy to
- the host of a remote scorer: all four files. It binds for the cameras and
  connects to the gate, so it needs both secret keys.
- a program that only sends part messages: client.key, client.key_secret and
  line.key, never line.key_secret.
Copy over an encrypted connection and keep the modes (scp -p); who holds
client.key_secret can send frames and results, who holds line.key_secret can
pose as gate or scorer. New keys end all connections that use the old ones."""


def keys(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder for the keys; made if it is not there.")
    ],
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the keys that are there.")
    ] = False,
) -> None:
    """Make the keys with which tcp endpoints beyond this host are encrypted."""
    from edge.keys import make_keys

    for path in make_keys(folder, replace=force):
        typer.echo(str(path))
    typer.echo("\n" + HINT.format(folder=folder.resolve().as_posix()))
