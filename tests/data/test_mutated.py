"""Hundreds of damaged files: each gives frames or a `VideoError`, never a crash, a hang or a file left open.

The files are read in a process of their own, so that a crash or a hang of the decoder would be seen and named.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.data.painted import write_video

SEEDS = {
    "h264.mp4": {},
    "h264.mkv": {},
    "faststart.mp4": {"container_options": {"movflags": "faststart"}},
    "h264.avi": {},
    "h264.ts": {},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"cpu-used": "8"}},
    "av1.mp4": {"codec": "libsvtav1", "options": {"preset": "10"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
}
EACH = 64  # mutated files of every seed: 576 in all
SECONDS_PER_FILE = 5  # a whole file decodes in a few milliseconds

READER = """
import json, os, sys, time
from mvit_edu.data import VideoError, read_frames, video_info

for path in sys.stdin.read().splitlines():
    print(json.dumps({"begin": path}), flush=True)
    before, start, outcome = len(os.listdir("/proc/self/fd")), time.process_time(), "frames"
    for read, ask in ((read_frames, {"indices": [0, 7, 19]}), (read_frames, {"times": [0.1, 0.6]}), (video_info, {})):
        try:
            read(path, **ask)
        except VideoError as error:
            outcome = "VideoError"
            assert str(error).startswith(path + ": ") and "\\n" not in str(error), str(error)
    print(json.dumps({
        "path": path, "outcome": outcome, "seconds": time.process_time() - start,
        "left_open": len(os.listdir("/proc/self/fd")) - before,
    }), flush=True)
"""


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """One of the ways in which files go wrong."""
    size = len(data)
    damaged = bytearray(data)
    kind = random.integers(8)
    if kind == 0:  # cut off
        return data[: random.integers(1, size)]
    if kind == 1:  # a few wrong bytes anywhere
        for place in random.integers(0, size, random.integers(1, 20)):
            damaged[place] = random.integers(256)
    elif kind == 2:  # a few wrong bits in the headers at the beginning
        for place in random.integers(0, min(size, 800), random.integers(1, 6)):
            damaged[place] ^= 1 << random.integers(8)
    elif kind == 3:  # the same at the end, where an MP4 keeps its index
        for place in size - 1 - random.integers(0, min(size, 1500), random.integers(1, 6)):
            damaged[place] ^= 1 << random.integers(8)
    elif kind == 4:  # a hole of zeros, as after a crash
        start = random.integers(0, size)
        length = min(size - start, int(random.integers(1, 4096)))
        damaged[start : start + length] = bytes(length)
    elif kind == 5:  # a piece is missing
        start = random.integers(0, size)
        del damaged[start : start + random.integers(1, 2000)]
    elif kind == 6:  # a piece is there twice
        start, stop = sorted(random.integers(0, size, 2))
        damaged[stop:stop] = data[start:stop]
    else:  # another file begins in the middle
        damaged = damaged[: random.integers(1, size)] + data[random.integers(0, size) :]
    return bytes(damaged)


@pytest.fixture(scope="module")
def mutants(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("mutants")
    random = np.random.default_rng(0)
    paths = []
    for name, options in SEEDS.items():
        data = write_video(folder / name, 24, **options).read_bytes()
        for number in range(EACH):
            path = folder / f"{number}_{name}"
            path.write_bytes(mutate(data, random))
            paths.append(path)
    assert len(paths) >= 500
    return paths


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files can be counted on Linux only")
def test_frames_or_one_clear_error(mutants, tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join(map(str, mutants)))
    with listing.open() as stdin:
        result = subprocess.run(
            [sys.executable, "-c", READER], stdin=stdin, capture_output=True, text=True, timeout=SECONDS_PER_FILE * 60
        )
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    begun = [line["begin"] for line in lines if "begin" in line]
    done = {line["path"]: line for line in lines if "path" in line}
    assert result.returncode == 0, f"stopped at {begun[-1:]} with {result.returncode}: {result.stderr[-2000:]}"
    assert len(done) == len(mutants)
    assert not [path for path, line in done.items() if line["left_open"]]
    assert not [path for path, line in done.items() if line["seconds"] > SECONDS_PER_FILE]
    outcomes = [line["outcome"] for line in done.values()]
    assert outcomes.count("frames") > 50 and outcomes.count("VideoError") > 50, "both kinds should occur"
