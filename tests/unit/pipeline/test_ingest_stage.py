"""What the config says of a camera is what its ingest gets."""

from __future__ import annotations

from typing import Any

import pytest
from factories import config

from pipeline.config_file import ConfigError
from pipeline.ingest_stage import ingest_settings, run_ingest


def camera(**fields: Any) -> dict[str, Any]:
    """Return a synthetic camera with these keys."""
    return {"id": "c1", "kind": "synthetic", "interval_ms": 40, **fields}


def test_part_ids_follow_the_config() -> None:
    """Policy and endpoint of the part ids are the camera's, the wait is the part's deadline."""
    told = camera(part_id="message", part_endpoint="ipc:///tmp/parts")
    settings = config(camera=[told], part={"deadline_ms": 700})

    ingest = ingest_settings(settings, settings.camera[0])

    assert (ingest.part_policy, ingest.part_endpoint) == ("message", "ipc:///tmp/parts")
    assert ingest.part_wait_ms == 700


def test_the_rest_follows_the_config() -> None:
    """Endpoints, policy, queue and interval are the config's; the drain is two deadlines."""
    transport = {"policy": "drop_oldest", "queue_frames": 7, "frames": "tcp://127.0.0.1:5555"}
    settings = config(camera=[camera()], part={"deadline_ms": 700}, transport=transport)

    ingest = ingest_settings(settings, settings.camera[0])

    assert (ingest.camera, ingest.interval_ms, ingest.queue_frames) == ("c1", 40, 7)
    assert ingest.gate_endpoint == settings.endpoint("notices")
    assert ingest.scorer_endpoint == "tcp://127.0.0.1:5555"
    assert ingest.drain_s == pytest.approx(1.4)
    assert (ingest.policy, ingest.part_policy) == ("drop_oldest", "source")


def test_unknown_camera_is_named() -> None:
    """A camera that is not in the config is refused with those that are."""
    with pytest.raises(ConfigError, match="camera 'c9': not in the config; there are c1"):
        run_ingest(config(), "c9", supervised=False)
