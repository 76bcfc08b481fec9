"""Keys of a config: read where they are named, demanded where an endpoint needs them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from factories import config

from edge.endpoints import ExposedEndpointError
from edge.keys import KeysError, load_keys, make_keys
from pipeline.line_keys import check_endpoints, line_keys

if TYPE_CHECKING:
    from pathlib import Path

PUBLIC = "tcp://192.0.2.7:5001"


def told_camera(endpoint: str, part_id: str) -> dict[str, Any]:
    """Return a camera whose parts a program may tell."""
    return {
        "id": "c1",
        "kind": "synthetic",
        "interval_ms": 1,
        "part_id": part_id,
        "part_endpoint": endpoint,
    }


def test_no_keys_path_no_keys() -> None:
    """Without a keys folder there are no keys."""
    assert line_keys(config()) is None


def test_keys_are_those_of_the_folder(tmp_path: Path) -> None:
    """The keys are those that lie in the folder that the config names."""
    make_keys(tmp_path / "keys")

    found = line_keys(config(transport={"keys_path": tmp_path / "keys"}))

    assert found == load_keys(tmp_path / "keys")


def test_useless_keys_name_the_setting(tmp_path: Path) -> None:
    """Keys that cannot be read are refused with the config's key and the file; exit code 2."""
    settings = config(transport={"keys_path": tmp_path / "gone"})

    for use in (line_keys, check_endpoints):
        with pytest.raises(KeysError, match=r"transport\.keys_path: .*gone: No such") as caught:
            use(settings)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", ["notices", "frames", "inspections"])
def test_exposed_endpoint_is_refused_early(name: str) -> None:
    """Each endpoint beyond this host is refused by its config key; exit code 2."""
    with pytest.raises(ExposedEndpointError, match=rf"^transport\.{name}: {PUBLIC}") as caught:
        check_endpoints(config(transport={name: PUBLIC}))

    assert caught.value.exit_code == 2


def test_exposed_part_endpoint_is_refused() -> None:
    """The endpoint for part messages is refused where it is used."""
    used = config(camera=[told_camera(PUBLIC, "message")])
    unused = config(camera=[told_camera(PUBLIC, "counter")])

    check_endpoints(unused)
    with pytest.raises(ExposedEndpointError, match=r"^camera\.0\.part_endpoint: "):
        check_endpoints(used)


def test_local_endpoints_need_no_keys() -> None:
    """Sockets in the state folder and loopback addresses are good without keys."""
    check_endpoints(config())
    check_endpoints(config(transport={"frames": "tcp://127.0.0.1:5001"}))
    check_endpoints(config(camera=[told_camera("", "message")]))


def test_keys_allow_all(tmp_path: Path) -> None:
    """With keys every endpoint may be anywhere."""
    make_keys(tmp_path / "keys")
    transport = {"frames": PUBLIC, "notices": "tcp://*:5002", "keys_path": tmp_path / "keys"}

    check_endpoints(
        config(transport=transport, camera=[told_camera("tcp://192.0.2.7:5003", "message")])
    )
