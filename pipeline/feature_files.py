"""What backbones said of frames, kept in a folder: another run of them asks no network.

One safetensors file a batch, ``DIR/NETWORK/BATCH.safetensors``: tokens and image features
as the network said them, and a checksum. NETWORK stands for all that they depend on - model,
stages, precision, way of execution, processor, libraries, code - and BATCH for the input's
numbers, so what comes out is what would be computed, bit by bit. A file is written under
another name and renamed: a kill leaves no half one, and processes may share a folder.

Nothing depends on the folder but the time: a damaged file is named and made anew, and where
none can be written the network is asked. It is not bounded; how large it is, is told.
"""

from __future__ import annotations

import hashlib
import logging
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from musc.backbone import Features
from musc.pair_memory import tensor_digest
from pipeline.disk import free_disk_bytes
from pipeline.remembered import BackboneFront

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from musc.backbone import Backbone

log = logging.getLogger(__name__)

FORMAT = "musc-edge features 1"
"""Changes whenever a file means something else than before."""
MIN_FREE_BYTES = 1_000_000_000
"""So much of the disk stays free; below it a line's alarm ``disk_low`` comes by default."""
LEFT_S = 3600.0
"""Writing takes milliseconds: a file that is half written for an hour was left by a kill."""
LIBRARIES = ("torch", "timm", "open_clip_torch")
BUILDERS = ("backbones.py", "checkpoints.py")
"""Of this package: what builds a network. How it runs is in ``musc``."""
PROCESSOR = ("vendor_id", "model name", "flags", "CPU implementer", "CPU part", "Features")
"""Lines of /proc/cpuinfo: libraries choose their sums by the processor they find."""


@dataclass(slots=True)
class FeatureCounts:
    """Where features came from, by frames; of a frame with regions each counts."""

    from_folder: int = 0
    computed: int = 0


class FeatureFiles:
    """A folder of features, for one thread; other processes may use it as well."""

    def __init__(
        self,
        folder: Path,
        free_bytes: Callable[[Path], int | None] = free_disk_bytes,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        """Look at nothing yet; the folder is made when something is kept.

        Args:
            folder: No file.
            free_bytes: Free space of a folder's disk.
            now_s: The clock of files.
        """
        self.folder = folder
        self.counts = FeatureCounts()
        self._free_bytes = free_bytes
        self._now_s = now_s
        self._keeps = True

    def before(self, backbone: Backbone, model: str) -> FiledBackbone:
        """Return a backbone that looks here first; what killed processes left of it goes.

        Args:
            backbone: What is asked otherwise.
            model: Its digest, as ``load_backbone`` returns it.
        """
        kept = self.folder / network_name(backbone, model)
        for part in kept.glob("*.part"):
            with suppress(OSError):
                if self._now_s() - part.stat().st_mtime > LEFT_S:
                    part.unlink()
        return FiledBackbone(backbone, self, kept)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file whole or not at all, and no more once one could not be written."""
        if not self._keeps:
            return
        part = path.with_name(f"{path.stem}.{uuid4().hex}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            free = self._free_bytes(path.parent)
            if free is not None and free - len(content) < MIN_FREE_BYTES:
                self.give_up(f"{free / 1e9:.2f} GB are free, {MIN_FREE_BYTES / 1e9:g} GB must stay")
                return
            try:
                part.write_bytes(content)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            self.give_up(str(error))

    def give_up(self, why: str) -> None:
        """Write no more, and say so once."""
        if self._keeps:
            log.warning("features %s: nothing more is kept, the run goes on: %s", self.folder, why)
        self._keeps = False


class FiledBackbone(BackboneFront):
    """A ``Backbone`` whose features are kept in files, by the digest of the whole batch."""

    def __init__(self, backbone: Backbone, store: FeatureFiles, folder: Path) -> None:
        """Stand before ``backbone``; its files are in ``folder``, which may not be there yet."""
        super().__init__(backbone)
        self._store = store
        self._folder = folder

    def extract(self, batch: Tensor) -> Features:
        """Return what the network said of these numbers before, or ask it, and keep it.

        Args:
            batch: As ``Backbone.extract``, [N, 3, image_size, image_size].
        """
        path = self._folder / f"{tensor_digest(batch).hex()}.safetensors"
        features = self._kept(path, len(batch))
        if features is not None:
            self._store.counts.from_folder += len(batch)
            return features
        features = self._backbone.extract(batch)
        self._store.counts.computed += len(batch)
        named = {"tokens": features.tokens, "image_features": features.image_features}
        content = {name: tensor.cpu().contiguous() for name, tensor in named.items()}
        self._store.write(path, save({**content, "checksum": _checksum(path, features)}))
        return features

    def _kept(self, path: Path, frames: int) -> Features | None:
        """Return what a file has; None without one, and where it is damaged, which is told."""
        wanted = (frames, len(self.stages), self.patches, self.channels)
        try:
            held = load(path.read_bytes())
            features = Features(held["tokens"], held["image_features"])
            shapes = [tuple(one.shape) for one in (features.tokens, features.image_features)]
            if shapes[0] != wanted or shapes[1][:1] != (frames,):
                msg = f"shapes {shapes}, wanted {wanted} and {frames} image features"
                raise ValueError(msg)
            if not torch.equal(held["checksum"], _checksum(path, features)):
                msg = "its checksum is another"
                raise ValueError(msg)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._store.give_up(str(error))
            return None
        except (SafetensorError, KeyError, ValueError) as error:
            log.warning("%s: damaged, made anew: %s: %s", path, type(error).__name__, error)
            return None
        return Features(features.tokens.to(self.device), features.image_features.to(self.device))


def network_name(backbone: Backbone, model: str) -> str:
    """Return what stands for all that a network's numbers depend on, but for its input."""
    modules = sorted(files("musc").iterdir(), key=lambda one: one.name)
    code = [one.read_bytes() for one in modules if one.name.endswith(".py")]
    code += [(files("pipeline") / name).read_bytes() for name in BUILDERS]
    decisive = (
        FORMAT,
        model,
        backbone.image_size,
        backbone.stages,
        # As they were decided here; packed and plain blocks differ in the last bits.
        getattr(backbone, "precision", None),
        getattr(backbone, "execution", None),
        _processor(backbone.device),
        torch.__config__.show(),
        *map(version, LIBRARIES),
        hashlib.sha256(b"".join(code)).hexdigest(),
    )
    return f"{model}-{hashlib.sha256(repr(decisive).encode()).hexdigest()[:16]}"


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder; 0 where there is none."""
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # another process has just renamed it
            size += path.stat().st_size if path.is_file() else 0
    return size


def _checksum(path: Path, features: Features) -> Tensor:
    """Return a digest [32] over numbers, shapes, and what they are of."""
    digest = hashlib.sha256(f"{path.parent.name}/{path.name}".encode())
    digest.update(tensor_digest(features.tokens) + tensor_digest(features.image_features))
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def _processor(device: torch.device) -> str:
    """Return what computes."""
    if device.type == "cuda":
        return f"cuda {torch.cuda.get_device_name(device)}"
    told: list[str] = []
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        told = sorted({line for line in lines if line.startswith(PROCESSOR)})
    return " ".join((device.type, platform.machine(), platform.processor(), *told))
