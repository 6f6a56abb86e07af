"""MotionShapes: a generated video dataset in which only the order of the frames tells two classes apart (Chapter 7).

The classes come in pairs. The second of a pair is the first played backwards: *right* is *left* backwards,
*shrink* is *grow* backwards. A clip of the second class is made in exactly that way, after everything is
drawn, the noise too, so the frames of the two classes, put in a bag, have the same distribution. A model
that does not look at the order can find the pair and must guess the member, unless the look (color, texture,
shape) gives the class away. `appearance_bias` sets how often it does, and `bag_of_frames_bound` says how far
a model without a sense of order can get.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from mvit_edu.data.clips import MEAN, STD
from mvit_edu.data.motion_drawing import BACKGROUNDS, LOOKS, Track, draw, make_background
from mvit_edu.data.motion_files import write_clips

MOTIONS = {
    "horizontal": ("left", "right"),
    "vertical": ("up", "down"),
    "turn": ("clockwise", "counterclockwise"),
    "size": ("grow", "shrink"),
    "distance": ("approach", "part"),
    "presence": ("appear", "vanish"),
}
SPLITS = ("train", "val", "test")
CONTRASTS = ("bright", "mixed")
TURN = 6.0  # radians that a shape turns while, at the same speed, it would travel one short side
FASTEST = 0.1  # short sides from frame to frame: 0.72 radians of turn at the highest rate, and a cross looks the
# same after 1.57; beyond half of that it would seem to turn back


@dataclass(frozen=True)
class Scene:
    """What one clip shows: lengths in short sides of the frame, angles in radians, clockwise.

    `backwards` is True for the second class of a pair: the clip of the first class is drawn and reversed.
    `rate` is the clip's own factor on the speed.
    """

    motion: str
    backwards: bool
    look: int
    x: float
    y: float
    radius: float
    angle: float
    direction: float
    rate: float
    bright: bool


@dataclass(frozen=True)
class MotionShapes(Dataset):
    """Clips of moving shapes. Every clip is a function of (seed, split, index) and the settings, of nothing else.

    Clip i has class i modulo the number of classes. All other draws come from a generator of its own, whose
    key is a hash of seed, split and index. The order of access, the process, the worker and the length play
    no part, and the settings do not change the draws: with another `appearance_bias` the same shapes move in
    the same way and look different.

    Args:
        length: number of clips.
        split: "train", "val" or "test": three streams of clips with nothing in common.
        seed: another seed, another dataset.
        frames, size, fps: length of a clip, its height and width in pixels or (H, W), frames per second.
        motions: which of the pairs in `MOTIONS`; the classes are their members, in this order.
        appearance_bias: ρ. With this probability a clip has the look of its class; otherwise any of the 12
            looks, all equally likely, the look of its class among them.
        background: "plain", "textured" or "photo" (pieces of the frames of the book's example clip).
        noise: standard deviation of the noise on every pixel, for pixel values in [0, 1].
        speed: how many short sides of the frame a shape travels in a second; turning goes along. Growing,
            approaching and appearing always take the whole clip.
        contrast: "bright" shapes on dark ground, or "mixed": half of the clips dark on bright ground, which is
            much harder to learn.

    Raises:
        ValueError: if a setting is not possible.
    """

    length: int
    split: str = "train"
    seed: int = 0
    frames: int = 8
    size: int | tuple[int, int] = 32
    fps: float = 8
    motions: Sequence[str] = tuple(MOTIONS)
    appearance_bias: float = 0.0
    background: str = "plain"
    noise: float = 0.02
    speed: float = 0.5
    contrast: str = "bright"

    def __post_init__(self) -> None:
        object.__setattr__(self, "motions", (self.motions,) if isinstance(self.motions, str) else tuple(self.motions))
        object.__setattr__(self, "size", tuple(self.size) if isinstance(self.size, Sequence) else self.size)
        _check(self)

    @property
    def hw(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; the labels count them from 0, and 2k and 2k + 1 are a pair."""
        return tuple(name for motion in self.motions for name in MOTIONS[motion])

    def pair_of(self, label: int) -> str:
        """The pair to which a class belongs, such as "horizontal"."""
        return self.motions[self._checked_label(label) // 2]

    def partner(self, label: int) -> int:
        """The class that shows the same frames backwards."""
        return self._checked_label(label) ^ 1

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        """Clip, float32 (3, T, H, W), pixel values minus 0.45 divided by 0.225, and label."""
        clip = torch.from_numpy(self.frames_of(index)).permute(3, 0, 1, 2)  # (3, T, H, W)
        return ((clip / 255 - MEAN) / STD).contiguous(), self.label(index)

    def label(self, index: int) -> int:
        """The class of clip `index`, without drawing it."""
        return self._checked_index(index) % len(self.classes)

    def scene(self, index: int, label: int | None = None) -> Scene:
        """What clip `index` shows, before it is drawn; with a `label`, the same draws shown as that class."""
        return self._scene(index, label, self._generator(index))

    def frames_of(self, index: int, label: int | None = None) -> np.ndarray:
        """The frames of clip `index`, uint8 RGB (T, H, W, 3).

        With a `label`, the same draws shown as that class. As long as the look is the same, the partner's frames
        are these frames in reverse order, bit by bit.
        """
        rng = self._generator(index)
        scene = self._scene(index, label, rng)
        background = make_background(self.background, *self.hw, rng, bright=not scene.bright)  # (H, W, 3)
        pixels = draw(self._tracks(scene), LOOKS[scene.look], background, scene.bright)  # (T, H, W, 3)
        if self.noise:
            pixels += _noise(pixels.shape, self.noise, rng)
        pixels = (pixels.clip(0, 1) * 255 + 0.5).astype(np.uint8)
        return np.ascontiguousarray(pixels[::-1]) if scene.backwards else pixels

    def write(
        self, folder: str | Path, crf: int = 12, keyframe_every: int = 12, workers: int = 0, progress: bool = False
    ) -> Path:
        """Write every clip as an H.264 file, and the lists that training reads.

        In `folder`: `<split>/<class>/<index>.mp4`; `<split>.csv`, one "path label" a line, the path relative
        to `folder`; `classes.txt`, one class a line in the order of the labels; `<split>.json`, the settings.
        A file gets its name only once it is complete, so a run that was stopped can be started again and
        goes on where it was.

        H.264 does not treat past and future alike, so files carry traces of the true order that clips in memory
        do not have. With `keyframe_every=1` every frame is coded by itself: the files are larger, and the
        partner's file shows the same frames backwards again. Color is stored at half the resolution, which
        at 32 x 32 limits the likeness to about 31 dB.

        Args:
            crf: the quality of libx264, from 0, the best, to 51. With `keyframe_every=1` it is the fixed
                quantizer instead.
            keyframe_every: frames from one key frame to the next.
            workers: processes that draw and encode; 0 does it in this one.
            progress: show a progress bar.

        Returns:
            The path of the list, `<folder>/<split>.csv`.

        Raises:
            ValueError: if the size is odd, or the folder holds this split made with other settings.
        """
        return write_clips(self, Path(folder), crf, keyframe_every, workers, progress)

    def _generator(self, index: int) -> np.random.Generator:
        text = f"MotionShapes {self.seed} {self.split} {self._checked_index(index)}"
        key = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
        return np.random.Generator(np.random.Philox(key=key))

    def _scene(self, index: int, label: int | None, rng: np.random.Generator) -> Scene:
        label = self.label(index) if label is None else self._checked_label(label)
        gives_away, any_look, x, y, radius, angle, direction, rate, bright = rng.random(9).tolist()
        own_look = [name for pair in MOTIONS.values() for name in pair].index(self.classes[label])
        side = min(self.hw)
        return Scene(
            motion=self.pair_of(label),
            backwards=label % 2 == 1,
            look=own_look if gives_away < self.appearance_bias else int(any_look * len(LOOKS)),
            x=x * self.hw[1] / side,
            y=y * self.hw[0] / side,
            radius=0.19 + 0.06 * radius,
            angle=2 * math.pi * angle,
            direction=2 * math.pi * direction,
            rate=0.8 + 0.4 * rate,
            bright=self.contrast == "bright" or bright < 0.5,
        )

    def _tracks(self, scene: Scene) -> list[Track]:
        """Where the shapes of a scene are in each frame, played forwards; one shape, or two for "distance"."""
        side = min(self.hw)
        still = np.zeros(self.frames)
        progress = np.linspace(0, 1, self.frames)
        travel = scene.rate * self.speed / self.fps * np.arange(self.frames)  # short sides
        x, y, angle, radius = scene.x + still, scene.y + still, scene.angle + still, scene.radius + still
        opacity = 1 + still
        if scene.motion == "horizontal":
            x = x - travel
        elif scene.motion == "vertical":
            y = y - travel
        elif scene.motion == "turn":
            angle = angle + TURN * travel
        elif scene.motion == "size":
            radius = scene.radius * (0.5 + 0.8 * scene.rate * progress)
        elif scene.motion == "presence":
            opacity = progress
        if scene.motion != "distance":
            return [Track(x * side, y * side, radius * side, angle, opacity)]
        apart = scene.rate * (0.2 - 0.13 * progress)  # from the middle of the two to each; 0.25 is the farthest
        dx, dy = apart * math.cos(scene.direction), apart * math.sin(scene.direction)
        small = 0.55 * radius
        return [Track((x + s * dx) * side, (y + s * dy) * side, small * side, angle, opacity) for s in (-1, 1)]

    def _checked_index(self, index: int) -> int:
        if not -self.length <= index < self.length:
            raise IndexError(f"there is no clip {index}; the {self.split} split has {self.length}, counted from 0")
        return int(index) % self.length

    def _checked_label(self, label: int) -> int:
        if not 0 <= label < len(self.classes):
            raise ValueError(f"there is no class {label}; the {len(self.classes)} classes are counted from 0.")
        return int(label)


def _noise(shape: tuple[int, ...], deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Independent evenly distributed noise of 256 steps; a tenth of the time of normal noise."""
    steps = np.frombuffer(rng.bytes(math.prod(shape)), dtype=np.uint8).reshape(shape)
    width = deviation / math.sqrt((256**2 - 1) / 12)  # of one step
    return (steps - np.float32(127.5)) * np.float32(width)


def bag_of_frames_bound(appearance_bias: float, alike: int = 2) -> float:
    """The best accuracy, on average, of any model that does not look at the order of the frames.

    Such a model can know the pair, and it sees the look. With n = `alike` classes left that it cannot tell
    apart otherwise and M looks, the look l appears in class c with probability ρ [l is the look of c] + (1 - ρ) / M.
    Its best guess is the class whose look this is, and any of the n where the look belongs to none of them:

        accuracy = (1 / n) Σ_l max_c P(l | c) = (1 / n) (n ρ + M (1 - ρ) / M) = ρ + (1 - ρ) / n

    The number of looks cancels. For a pair, n = 2, this is (1 + ρ) / 2. A model that knows nothing but the look
    has n = all classes.

    Args:
        appearance_bias: ρ, as in `MotionShapes`.
        alike: n, the number of classes whose frames, in a bag, have the same distribution.

    Raises:
        ValueError: if ρ is not a probability, or n is not a whole number from 1.
    """
    _check_probability(appearance_bias)
    if alike != int(alike) or alike < 1:
        raise ValueError(f"alike={alike} must be a whole number of classes, at least 1.")
    return appearance_bias + (1 - appearance_bias) / alike


def _check_probability(appearance_bias: float) -> None:
    if not 0 <= appearance_bias <= 1:
        raise ValueError(f"appearance_bias={appearance_bias} must be a probability, from 0 to 1.")


def _check(data: MotionShapes) -> None:
    """One sentence for the first setting that cannot be used."""
    _check_probability(data.appearance_bias)
    sizes = data.size if isinstance(data.size, tuple) else (data.size, data.size)
    if len(sizes) != 2 or not all(isinstance(side, int) and side >= 8 for side in sizes):
        raise ValueError(f"size={data.size} must be a number of pixels, or (height, width), from 8 up.")
    for name, least in (("length", 0), ("frames", 2)):
        if getattr(data, name) != int(getattr(data, name)) or getattr(data, name) < least:
            raise ValueError(f"{name}={getattr(data, name)} must be a whole number, at least {least}.")
    choices = {"split": SPLITS, "background": BACKGROUNDS, "contrast": CONTRASTS}
    chosen = [(name, getattr(data, name), allowed) for name, allowed in choices.items()]
    for name, value, allowed in (*chosen, *(("motions", motion, tuple(MOTIONS)) for motion in data.motions)):
        if value not in allowed:
            raise ValueError(f"{name}={value!r} does not exist; choose from {', '.join(allowed)}.")
    if not data.motions or len(set(data.motions)) < len(data.motions):
        raise ValueError(f"motions={data.motions} must name at least one pair, and none twice.")
    if data.noise < 0 or data.fps <= 0 or data.speed <= 0:
        raise ValueError(
            f"fps={data.fps} and speed={data.speed} must be above 0, and noise={data.noise} must not be below."
        )
    if data.speed / data.fps > FASTEST:
        raise ValueError(
            f"speed={data.speed} at fps={data.fps} moves a shape by {data.speed / data.fps:.2f} of the frame from one "
            f"frame to the next, too far to see where to; speed / fps must be at most {FASTEST}."
        )
