"""The same random clips read by four packages, and the made files they are read from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from importlib import import_module
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F

from mvit_edu.data import ClipSpec, example_clip, read_frames

FRAMES, RATE = 300, 30  # of a file: 10 seconds
HEIGHT, WIDTH = 256, 340
SPEC = ClipSpec(16, 4)
WINDOW = SPEC.frames * SPEC.stride
NOISE = 5.0  # standard deviation of what changes in every frame, of 255; it sets the bit rate

Reader = Callable[[Path, list[int]], "np.ndarray | torch.Tensor"]


def clip_numbers(start: int) -> list[int]:
    """The frames of the 16x4 clip that begins with a frame, where it fits into the file."""
    return np.floor(np.linspace(start, start + WINDOW - 1, SPEC.frames) + 1e-9).astype(int).tolist()


def ours(path: Path, numbers: list[int]) -> np.ndarray:
    return read_frames(path, numbers)


def pytorchvideo(path: Path, numbers: list[int]) -> torch.Tensor:
    """Its way to a clip: all frames of the interval, then every fourth. It gives floats (3, T, H, W).

    The last step is written out, because `pytorchvideo.transforms` no longer imports beside today's torchvision.
    Times are fractions, as its docstring advises.
    """
    from pytorchvideo.data.encoded_video import EncodedVideo

    video = EncodedVideo.from_path(str(path), decode_audio=False, decoder="pyav")
    clip = video.get_clip(Fraction(numbers[0], RATE), Fraction(numbers[0] + WINDOW, RATE))["video"]
    video.close()
    return clip.index_select(1, torch.linspace(0, clip.shape[1] - 1, SPEC.frames).long())  # (3, 16, H, W)


def decord(path: Path, numbers: list[int]) -> np.ndarray:
    from decord import VideoReader, cpu

    return VideoReader(str(path), ctx=cpu(0), num_threads=1).get_batch(numbers).asnumpy()


def torchcodec(seek_mode: str) -> Reader:
    def read(path: Path, numbers: list[int]) -> torch.Tensor:
        from torchcodec.decoders import VideoDecoder

        video = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode=seek_mode)
        return video.get_frames_at(numbers).data

    return read


OURS, OURS_AGAIN, PYTORCHVIDEO = "mvit_edu", "mvit_edu, read before", "PyTorchVideo"
READERS: dict[str, tuple[Reader, str]] = {  # with the module that has to import
    OURS: (ours, "mvit_edu"),
    OURS_AGAIN: (ours, "mvit_edu"),
    PYTORCHVIDEO: (pytorchvideo, "pytorchvideo.data.encoded_video"),
    "decord": (decord, "decord"),
    "torchcodec, exact": (torchcodec("exact"), "torchcodec.decoders"),
    "torchcodec, approximate": (torchcodec("approximate"), "torchcodec.decoders"),
}


def readers() -> tuple[dict[str, Reader], dict[str, str]]:
    """Those that import, and for the others why not."""
    found, missing = {}, {}
    for name, (reader, module) in READERS.items():
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            missing[name] = f"not installed ({error.name})"
        except (ImportError, OSError, RuntimeError) as error:
            missing[name] = f"does not import: {str(error).strip().splitlines()[0]}"
        else:
            found[name] = reader
    return found, missing


def as_frames(read: np.ndarray | torch.Tensor) -> np.ndarray:
    """What a reader gave as uint8 (T, H, W, 3)."""
    read = torch.as_tensor(read)
    if read.is_floating_point():
        read = read.permute(1, 2, 3, 0).to(torch.uint8)  # (T, H, W, 3)
    return read.numpy()


def all_frames(path: Path) -> np.ndarray:
    """The whole file, decoded from the start without seeking: uint8 (frames, H, W, 3)."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def make_files(folder: Path, count: int, key_frame_every: int) -> list[Path]:
    """Files of 10 s, 340x256, H.264 with the presets of x264."""
    photos = read_frames(example_clip(), range(0, 108, 108 // count))  # (count, H, W, 3)
    paths = [folder / f"{number:02d}_every_{key_frame_every}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=RATE)
            stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
            stream.options = {"g": str(key_frame_every), "threads": "1"}
            for picture in footage(photos[number], seed=number):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    return paths


def footage(photo: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """A camera that sways over a photograph, a part of which moves on its own, and noise."""
    rng = np.random.default_rng(seed)
    scene = torch.from_numpy(photo).permute(2, 0, 1)[None].float()  # (1, 3, H, W)
    scene = F.interpolate(scene, scale_factor=2.2, mode="bicubic").clamp(0, 255)
    tall, wide = scene.shape[-2:]
    part = scene[0, :, 200:290, 250:370].flip(2)  # (3, 90, 120)
    phase, speed = rng.random(4) * 2 * math.pi, 0.02 + 0.03 * rng.random(4)
    for number in range(FRAMES):
        y, x, top, left = (1 + np.sin(phase + speed * number)) / 2 * [tall - 257, wide - 341, 256 - 90, 340 - 120]
        view = shifted(scene, y, x)  # (3, 256, 340)
        view[:, int(top) : int(top) + 90, int(left) : int(left) + 120] = part
        pixels = view.numpy() + NOISE * rng.standard_normal((1, HEIGHT, WIDTH), dtype=np.float32)
        yield np.ascontiguousarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def shifted(scene: torch.Tensor, y: float, x: float) -> torch.Tensor:
    """The box of 340x256 pixels whose corner lies at (y, x), between pixels: a new tensor (3, H, W)."""
    box = scene[..., int(y) : int(y) + HEIGHT + 1, int(x) : int(x) + WIDTH + 1]  # (1, 3, H + 1, W + 1)
    down, right = y % 1, x % 1
    weights = torch.tensor([[(1 - down) * (1 - right), (1 - down) * right], [down * (1 - right), down * right]])
    return F.conv2d(box.transpose(0, 1), weights[None, None].float())[:, 0]


def kilobits(paths: Sequence[Path]) -> float:
    """The average bit rate in kbit/s."""
    return sum(path.stat().st_size for path in paths) * 8 / 1000 / (len(paths) * FRAMES / RATE)
