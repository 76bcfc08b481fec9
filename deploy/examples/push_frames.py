"""Push pictures into a line whose camera has kind = "zmq": python push_frames.py ENDPOINT [FOLDER].

ENDPOINT is the camera's, for instance tcp://127.0.0.1:5570. FOLDER holds arrays as
numpy.save writes them, (height, width) or (height, width, 3) in blue, green, red
order, uint8 or uint16; without it ten random pictures are sent, one in 0.1 s.

A message has two parts: a header in JSON, and the pixels row by row, of 16 bits
with the low byte first. bit_depth is how many bits of a value are used: 12 for a
12-bit camera, in 16. offset_px is where on the sensor the picture begins, column
and row. The line takes seq for the number of the trigger: a gap
is a part without a picture, so count every trigger, also one that failed. boot
says that seq and captured_ns begin anew, so make a new one with each start.
part_id and camera are names; the camera's is the config's, this one is not used.

From another host the line wants keys (`musc-edge keys`): before connect, set
curve_serverkey, curve_publickey and curve_secretkey of the socket from the files
of the keys' folder; zmq.auth.load_certificate reads them.
"""

import json
import secrets
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import zmq

endpoint, *folder = sys.argv[1:]
files = sorted(Path(*folder).glob("*.npy")) if folder else [Path("random")] * 10
noise = np.random.default_rng()
socket = zmq.Context().socket(zmq.DEALER)
socket.immediate = True  # else pictures would queue up for a line that is not there
socket.connect(endpoint)
boot = secrets.token_hex(8)
for seq, file in enumerate(files, start=1):
    pixels = np.load(file) if folder else noise.integers(0, 256, (480, 640), np.uint8)
    announcement = {
        "camera": "pusher", "boot": boot, "seq": seq, "part_id": f"part-{seq:06d}",
        "captured_at": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "captured_ns": time.monotonic_ns(), "origin": file.name,
    }  # fmt: skip
    header = {
        "v": 1, "announcement": announcement, "pixel_format": "bgr" if pixels.shape[2:] else "mono",
        "bit_depth": 8 * pixels.itemsize, "height": pixels.shape[0], "width": pixels.shape[1],
        "offset_px": [0, 0],
    }  # fmt: skip
    socket.send_multipart([json.dumps(header).encode(), np.ascontiguousarray(pixels)])
    time.sleep(0.1)
