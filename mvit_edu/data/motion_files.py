"""MotionShapes as H.264 files with a list (Chapter 7); `MotionShapes.write` is the way in."""

from __future__ import annotations

import json
import multiprocessing
import os
from dataclasses import asdict
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import av
from tqdm import tqdm

if TYPE_CHECKING:
    from mvit_edu.data.motion_shapes import MotionShapes

TEMPORARY = ".tmp"


def write_clips(data: MotionShapes, folder: Path, crf: int, keyframe_every: int, workers: int, progress: bool) -> Path:
    """All of `MotionShapes.write`, where arguments and files are described."""
    if data.hw[0] % 2 or data.hw[1] % 2:
        raise ValueError(f"size={data.size} must be even in height and width to be written as H.264.")
    if not 0 <= crf <= 51 or keyframe_every < 1:
        raise ValueError(f"crf={crf} must be from 0 to 51, and keyframe_every={keyframe_every} at least 1.")
    settings = {**asdict(data), "crf": crf, "keyframe_every": keyframe_every}
    del settings["length"]  # more clips of the same kind may be added
    record = folder / f"{data.split}.json"
    text = json.dumps(settings, indent=1) + "\n"
    if record.exists() and record.read_text() != text:
        raise ValueError(f"{record} was made with other settings; choose another folder, or delete this split.")
    for name in data.classes:
        (folder / data.split / name).mkdir(parents=True, exist_ok=True)
    for stale in (folder / data.split).glob(f"*/*{TEMPORARY}"):  # of a run that was killed
        stale.unlink(missing_ok=True)
    _write_text(record, text)
    job = partial(_write_clip, data, folder, crf, keyframe_every)
    bar = partial(tqdm, total=len(data), desc=f"{data.split} clips", unit="clip", disable=not progress)
    if workers:
        with multiprocessing.get_context("spawn").Pool(workers) as pool:
            for _ in bar(pool.imap_unordered(job, range(len(data)), chunksize=16)):
                pass
    else:
        for index in bar(range(len(data))):
            job(index)
    _write_text(folder / "classes.txt", "".join(f"{name}\n" for name in data.classes))
    lines = (f"{_file_name(data, index)} {data.label(index)}\n" for index in range(len(data)))
    return _write_text(folder / f"{data.split}.csv", "".join(lines))


def _file_name(data: MotionShapes, index: int) -> str:
    return f"{data.split}/{data.classes[data.label(index)]}/{index:06d}.mp4"


def _write_clip(data: MotionShapes, folder: Path, crf: int, keyframe_every: int, index: int) -> None:
    """Encode one clip into its place, unless it is there already."""
    path = folder / _file_name(data, index)
    if path.exists():
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    # With crf, x264 spends its bits with a look at what comes next; a fixed quantizer does not.
    quality = {"qp": str(crf)} if keyframe_every == 1 else {"crf": str(crf)}
    try:
        with av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=Fraction(data.fps).limit_denominator(1001))
            stream.height, stream.width = data.hw
            stream.pix_fmt = "yuv420p"
            stream.options = {"g": str(keyframe_every), "sc_threshold": "0", "threads": "1", **quality}
            for pixels in data.frames_of(index):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode(None))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_text(path: Path, text: str) -> Path:
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    temporary.write_text(text)
    os.replace(temporary, path)
    return path
