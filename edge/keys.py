"""The CURVE keys of a line: two pairs of files in one folder.

``line`` is who binds, ``client`` is who connects. A connecting process knows
the line's public key, a binding process the client's, so that neither talks to
anybody else. The files are pyzmq's certificates.

Source: ZeroMQ RFC 26 (CurveZMQ).
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import zmq
import zmq.auth

from edge.errors import LineError
from edge.secret_file import SecretFileError, check_private, read_secret

LINE, CLIENT = "line", "client"
PUBLIC, SECRET = ".key", ".key_secret"
KEY_FILES = (LINE + PUBLIC, LINE + SECRET, CLIENT + PUBLIC, CLIENT + SECRET)
_KEY = re.compile(r'^\s*(public|secret)-key\s*=\s*"([^"\s]{40})"\s*$', re.MULTILINE)
"""One key in a certificate: 32 bytes in Z85."""


class KeysError(LineError):
    """The keys cannot be used or made; the message names the file and the reason."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class LineKeys:
    """What a process needs to bind and to connect; each key is 40 characters of Z85."""

    line_public: bytes
    client_public: bytes
    line_secret: bytes = field(repr=False)
    client_secret: bytes = field(repr=False)


def load_keys(folder: Path) -> LineKeys:
    """Read the four files of a folder.

    Raises:
        KeysError: The folder or a secret file is open to group or others, a
            file is missing or holds no key, or two files are no pair.
    """
    try:
        check_private(folder)
        line_public, line_secret = _load_pair(folder, LINE)
        client_public, client_secret = _load_pair(folder, CLIENT)
    except SecretFileError as error:
        raise KeysError(str(error)) from error
    return LineKeys(line_public, client_public, line_secret, client_secret)


def make_keys(folder: Path, *, replace: bool = False) -> list[Path]:
    """Write two new pairs, the secret files and a new folder for their owner alone.

    Returns:
        The files, in the order of KEY_FILES.

    Raises:
        KeysError: There are keys already and ``replace`` is not given, or the
            folder is open to others or cannot be written.
    """
    paths = [folder / name for name in KEY_FILES]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private(folder)
        there = [path.name for path in paths if path.exists()]
        if there and not replace:
            msg = f"{folder}: holds {', '.join(there)} already; --force replaces all keys"
            raise KeysError(msg)
        # Made aside and moved, so that no file is ever half written.
        with tempfile.TemporaryDirectory(prefix=".new-", dir=folder) as aside:
            for name in (LINE, CLIENT):
                zmq.auth.create_certificates(aside, name)
            for path in paths:
                new = Path(aside, path.name)
                new.chmod(0o600 if path.suffix == SECRET else 0o644)
                new.replace(path)
    except OSError as error:
        msg = f"{folder}: {error.strerror}"
        raise KeysError(msg) from error
    except SecretFileError as error:
        raise KeysError(str(error)) from error
    return paths


def _load_pair(folder: Path, name: str) -> tuple[bytes, bytes]:
    public_path, secret_path = folder / (name + PUBLIC), folder / (name + SECRET)
    public = _find(public_path, "public", read_secret(public_path, private=False))
    secret = _find(secret_path, "secret", read_secret(secret_path))
    try:
        fits = zmq.curve_public(secret) == public
    except zmq.ZMQError as error:
        msg = f"{secret_path}: its secret-key is not Z85"
        raise KeysError(msg) from error
    if not fits:
        msg = f"{public_path}: is not the public key of {secret_path.name}"
        raise KeysError(msg)
    return public, secret


def _find(path: Path, kind: str, text: str) -> bytes:
    keys = dict(_KEY.findall(text))
    if kind not in keys:
        msg = f"{path}: holds no {kind}-key of 40 characters"
        raise KeysError(msg)
    return str(keys[kind]).encode()
