"""The line's keys: made for their owner alone, and read only where all is right."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.keys import KEY_FILES, KeysError, load_keys, make_keys

if TYPE_CHECKING:
    from pathlib import Path

POSIX = pytest.mark.skipif(os.name == "nt", reason="a file's mode says nothing on Windows")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of new keys."""
    make_keys(tmp_path / "keys")
    return tmp_path / "keys"


def modes(folder: Path) -> dict[str, int]:
    """Return the permission bits of a folder and its files."""
    paths = (folder, *folder.iterdir())
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in paths}


def test_made_keys_are_four_and_load(tmp_path: Path) -> None:
    """Two pairs are written, nothing else, and what is loaded is in them."""
    paths = make_keys(tmp_path / "new" / "keys")
    keys = load_keys(tmp_path / "new" / "keys")

    assert tuple(path.name for path in paths) == KEY_FILES
    assert {path.name for path in (tmp_path / "new" / "keys").iterdir()} == set(KEY_FILES)
    assert keys.line_public.decode() in paths[0].read_text()
    assert keys.line_secret.decode() in paths[1].read_text()
    assert keys.client_public.decode() in paths[2].read_text()
    assert keys.client_secret.decode() in paths[3].read_text()
    assert len({keys.line_public, keys.line_secret, keys.client_public, keys.client_secret}) == 4


@POSIX
def test_secrets_are_private(folder: Path) -> None:
    """The folder and the secret files are their owner's alone, whatever the umask."""
    assert modes(folder) == {
        "keys": 0o700,
        "line.key": 0o644,
        "line.key_secret": 0o600,
        "client.key": 0o644,
        "client.key_secret": 0o600,
    }


def test_public_files_hold_no_secret(folder: Path) -> None:
    """What may be handed out does not have the secret key in it."""
    keys = load_keys(folder)

    for name in ("line.key", "client.key"):
        text = (folder / name).read_text()
        assert "secret-key" not in text
        assert keys.line_secret.decode() not in text
        assert keys.client_secret.decode() not in text


def test_repr_hides_secrets(folder: Path) -> None:
    """Keys that end up in a log show no secret."""
    keys = load_keys(folder)

    assert keys.line_public.decode() in repr(keys)
    assert keys.line_secret.decode() not in repr(keys)
    assert keys.client_secret.decode() not in repr(keys)


def test_keys_are_not_overwritten(folder: Path) -> None:
    """With one file there nothing is written; the message names it and the remedy."""
    before = {path: path.read_bytes() for path in folder.iterdir()}
    (folder / "line.key").unlink()

    with pytest.raises(KeysError, match=r"holds line\.key_secret, client\.key, .* --force") as told:
        make_keys(folder)

    assert told.value.exit_code == 2
    left = {path: path.read_bytes() for path in folder.iterdir()}
    assert left == {path: old for path, old in before.items() if path.name != "line.key"}


def test_replaced_keys_are_all_new(folder: Path) -> None:
    """Told to, both pairs are replaced, and are pairs again."""
    old = load_keys(folder)

    make_keys(folder, replace=True)
    new = load_keys(folder)

    assert {old.line_public, old.client_public}.isdisjoint({new.line_public, new.client_public})


@POSIX
@pytest.mark.parametrize("name", ["line.key_secret", "client.key_secret"])
def test_open_secret_is_refused(folder: Path, name: str) -> None:
    """A secret file that others can read is refused with the command that closes it."""
    (folder / name).chmod(0o640)

    with pytest.raises(KeysError, match=f"mode 0640 .* chmod 600 {folder / name}"):
        load_keys(folder)


@POSIX
def test_open_folder_is_refused(folder: Path) -> None:
    """In a folder that others can use a key could be exchanged; it is neither read nor written."""
    folder.chmod(0o770)

    for use in (load_keys, lambda path: make_keys(path, replace=True)):
        with pytest.raises(KeysError, match=f"mode 0770 .* chmod 700 {folder}"):
            use(folder)


@pytest.mark.parametrize("name", KEY_FILES)
def test_missing_file_is_named(folder: Path, name: str) -> None:
    """Each of the four files is needed."""
    (folder / name).unlink()

    with pytest.raises(KeysError, match=f"{folder / name}: No such file"):
        load_keys(folder)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    """A folder that is not there is named."""
    with pytest.raises(KeysError, match="gone: No such file"):
        load_keys(tmp_path / "gone")


def test_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    """Where no folder can be made the message says why."""
    (tmp_path / "file").write_text("")

    with pytest.raises(KeysError, match="file: File exists"):
        make_keys(tmp_path / "file")


def test_halves_of_two_pairs_are_refused(folder: Path, tmp_path: Path) -> None:
    """A public key that does not belong to the secret one is named."""
    make_keys(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "client.key", folder / "client.key")

    with pytest.raises(KeysError, match=r"client\.key: is not the public key of client\.key_sec"):
        load_keys(folder)


def test_secret_that_is_not_z85_is_named(folder: Path) -> None:
    """Forty characters that are no key are refused."""
    (folder / "line.key_secret").write_text(f'curve\n    secret-key = "{"~" * 40}"\n')

    with pytest.raises(KeysError, match=r"line\.key_secret: its secret-key is not Z85"):
        load_keys(folder)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=st.sampled_from(KEY_FILES), content=st.binary(max_size=200))
def test_rubbish_is_refused(folder: Path, name: str, content: bytes) -> None:
    """Any bytes in a key's place raise KeysError, which names the file, never anything else."""
    good = (folder / name).read_bytes()
    (folder / name).write_bytes(content)

    try:
        with pytest.raises(KeysError, match=name):
            load_keys(folder)
    finally:
        (folder / name).write_bytes(good)
