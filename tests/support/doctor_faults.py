"""What can be wrong with a line, each seeded for real, with the check that names it.

The cameras are the maker's emulator and Debian's fake GigE camera, behind their
real drivers. Only the kernel's clock is a stand-in, since a test must not set
the machine's.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
import torch
from doctor_ground import BASLER, ROOT, TOLD
from fake_gige import ADDRESS, fake_gige

from edge.clock import SystemClock
from edge.embedded_broker import HOST
from edge.endpoints import free_port
from edge.sources.aravis import AravisDevice
from edge.sources.genicam_settings import GenicamSettings
from pipeline.doctor_host import KernelClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from doctor_ground import Ground

TOO_MUCH = 10**15


def missing_folder(ground: Ground) -> None:
    """The folder of images is not there."""
    ground.camera(kind="folder", path="gone")


def missing_video(ground: Ground) -> None:
    """The video file is not there."""
    ground.camera(kind="video", path="gone.mp4")


def missing_v4l2(ground: Ground) -> None:
    """There is no such V4L2 device."""
    ground.camera(kind="opencv", source="/dev/video99")


def missing_stream(ground: Ground) -> None:
    """Nobody is at the stream's address."""
    ground.camera(kind="opencv", source=f"http://{HOST}:{free_port()}/stream")


def unknown_serial(ground: Ground) -> None:
    """No camera has this serial number."""
    ground.camera(**BASLER | {"serial": "40012345"})


def busy_camera(ground: Ground) -> None:
    """Another program holds the camera, by the GigE Vision protocol."""
    ground.held.enter_context(fake_gige())
    holder = AravisDevice(GenicamSettings(camera=ADDRESS), SystemClock())
    ground.held.callback(holder.close)
    holder.open()
    ground.camera(kind="aravis", device=ADDRESS)


def other_pixel_format(ground: Ground) -> None:
    """The camera does not offer the pixel format."""
    ground.camera(**BASLER | {"pixel_format": "Mono10p"})


def slow_camera(ground: Ground) -> None:
    """The camera runs at half the rate of the parts."""
    ground.camera(**BASLER | {"fps": 5.0})
    ground.set("part", rate_per_minute=600.0)


def slow_triggered_camera(ground: Ground) -> None:
    """The camera exposes for longer than the parts are apart."""
    # The emulated camera exposes for 10 ms; a line of 200 parts a second fires each 5 ms.
    ground.camera(**BASLER | TOLD)
    ground.set("part", rate_per_minute=12_000.0)


def unwritable_ipc(ground: Ground) -> None:
    """An ipc path lies where nobody may write."""
    ground.set("transport", frames="ipc:///proc/musc-edge/frames.ipc")


def port_in_use(ground: Ground) -> None:
    """Another program listens on the port of an endpoint."""
    holder = ground.held.enter_context(socket.create_server((HOST, 0)))
    ground.set("transport", notices=f"tcp://{HOST}:{holder.getsockname()[1]}")


def embedded_port_in_use(ground: Ground) -> None:
    """Another program listens on the port of the line's own broker."""
    holder = ground.held.enter_context(socket.create_server((HOST, 0)))
    port = holder.getsockname()[1]
    ground.sections["mqtt"] = {"embedded": True, "port": port, "protocol": "3.1.1"}


def public_bind(ground: Ground) -> None:
    """An endpoint is open to strangers."""
    ground.set("transport", frames=f"tcp://0.0.0.0:{free_port()}")


def clock_that_nobody_sets(ground: Ground) -> None:
    """The kernel says that nobody sets its clock; only this is the test's own word."""
    ground.clock = KernelClock(unsynchronised=True, max_error_s=16.0)


def no_cuda(ground: Ground) -> None:
    """CUDA is asked for, and there is none."""
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    ground.set("musc", device="cuda")


def missing_weights(ground: Ground) -> None:
    """The user's cache of weights is empty."""
    ground.weights = None
    ground.patch.setenv("XDG_CACHE_HOME", str(ground.folder / "cache"))


def flipped_byte(ground: Ground) -> None:
    """One byte of the weights in the cache is another."""
    assert ground.weights is not None
    cache = ground.folder / "cache" / "musc-edge" / "weights" / "dinov2-vits14"
    shutil.copytree(ground.weights.parent, cache)
    with (cache / ground.weights.name).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xa5")
    ground.weights = None
    ground.patch.setenv("XDG_CACHE_HOME", str(ground.folder / "cache"))


def no_multiple(ground: Ground) -> None:
    """The image size is no multiple of the patch."""
    ground.set("musc", image_size_px=225)


def too_little_memory(ground: Ground) -> None:
    """The windows of 64 regions take terabytes."""
    ground.camera(kind="synthetic", columns=8, rows=8)
    ground.set("window", size_frames=512)
    ground.set("musc", image_size_px=1036)


def unreachable_broker(ground: Ground) -> None:
    """Nobody listens on the broker's port."""
    ground.set("mqtt", port=free_port())


def wrong_password(ground: Ground) -> None:
    """The password is another user's."""
    ground.login("box", "faed")


def no_right_to_plc(ground: Ground) -> None:
    """The login may say everything but what a gate hears."""
    ground.login("deaf", "faed")


def foreign_ca(ground: Ground) -> None:
    """The authority that is trusted did not sign the broker's certificate."""
    ground.set("mqtt", ca_file=str(ground.plant.certificates.foreign_ca))


def full_disk(ground: Ground) -> None:
    """The alarm for free space is above what the disk has."""
    usual = [{"name": kind, "kind": kind} for kind in ("camera_lost", "scorer_down")]
    low = {"name": "disk_low", "kind": "disk_low", "min_free_bytes": TOO_MUCH}
    ground.sections["alarm"] = [*usual, low]


def read_only_ledger(ground: Ground) -> None:
    """The ledger's file cannot be written."""
    if os.getuid():
        ground.ledger.chmod(0o444)
        return
    # Root writes whatever the mode says, but not what is immutable.
    command = ("chattr", "+i", str(ground.ledger))
    if shutil.which("chattr") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("root on a file system without immutable files")
    ground.held.callback(subprocess.run, ("chattr", "-i", str(ground.ledger)), check=True)


def corrupt_ledger(ground: Ground) -> None:
    """Pages of the ledger are overwritten."""
    with ground.ledger.open("r+b") as file:
        file.seek(3 * 4096)
        file.write(b"\xa5" * (4 * 4096))


def large_budget(ground: Ground) -> None:
    """The evidence may grow beyond the disk."""
    ground.set("evidence", max_bytes=TOO_MUCH)


def unknown_key(ground: Ground) -> None:
    """A key of the config is misspelt."""
    ground.set("window", sise_frames=12)


def newer_version(ground: Ground) -> None:
    """The config was written for a later version."""
    ground.sections["version"] = 999


FAULTS: dict[str, tuple[Callable[[Ground], None], str, str]] = {
    "1 camera missing: folder": (missing_folder, "camera.present", "camera.0.path"),
    "1 camera missing: video": (missing_video, "camera.present", "camera.0.path"),
    "1 camera missing: V4L2": (missing_v4l2, "camera.present", "camera.0.source"),
    "1 camera missing: stream": (missing_stream, "camera.present", "camera.0.source"),
    "1 camera missing: serial": (unknown_serial, "camera.present", "camera.0.serial"),
    "2 camera busy": (busy_camera, "camera.free", "Close the program that holds the camera"),
    "3 pixel format": (other_pixel_format, "camera.settings", "Set camera.0.pixel_format to one"),
    "4 free rate": (slow_camera, "camera.rate", "lower part.rate_per_minute to "),
    "5 triggered rate": (slow_triggered_camera, "camera.trigger_rate", "Shorten the exposure"),
    "6 ipc path": (unwritable_ipc, "transport.ipc", "Give transport.frames a path"),
    "7 tcp port": (port_in_use, "transport.ports", "ss -ltnp"),
    "7 tcp port: broker": (embedded_port_in_use, "transport.ports", "change mqtt.port"),
    "8 public bind": (public_bind, "transport.exposure", "musc-edge keys"),
    "9 clock": (clock_that_nobody_sets, "host.clock", "timedatectl set-ntp true"),
    "10 no CUDA": (no_cuda, "method.device", 'musc.device = "cpu"'),
    "11 no weights": (missing_weights, "method.weights", "musc-edge weights fetch dinov2-vits14"),
    "12 wrong hash": (flipped_byte, "method.weights_hash", "musc-edge weights fetch"),
    "13 no multiple": (no_multiple, "config.image_size", "Set musc.image_size_px to 224 or 238."),
    "14 memory": (too_little_memory, "method.memory", "fewer columns and rows"),
    "15 unreachable": (unreachable_broker, "broker.reach", "Start the broker on 127.0.0.1:"),
    "16 login": (wrong_password, "broker.login", "Correct user and password in "),
    "17 ACL": (no_right_to_plc, "broker.plc", f"user deaf / topic write {ROOT}/plc"),
    "18 wrong CA": (foreign_ca, "broker.tls", "Set mqtt.ca_file"),
    "19 disk": (full_disk, "disk.free", "Free space there"),
    "20 read-only ledger": (read_only_ledger, "ledger.write", "Make "),
    "21 corrupt ledger": (corrupt_ledger, "ledger.intact", ".recover"),
    "22 budget": (large_budget, "evidence.budget", "Set evidence.max_bytes to at most "),
    "23 unknown key": (unknown_key, "config.keys", "Write window.size_frames for"),
    "24 newer version": (newer_version, "config.version", "Upgrade musc-edge"),
}
"""What is done to a healthy line, the one check that names it, and words of its remedy."""
