"""The pictures of MotionShapes: shapes, textures and backgrounds, drawn with NumPy (Chapter 7).

A shape is drawn from its signed distance: how far a point is inside (negative) or outside (positive) of
the outline. Half a pixel around the outline is blended, so that a shape can move by less than a pixel.
The frame has no border: what leaves on one side comes back on the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mvit_edu.data.clips import example_clip, read_frames

COLORS = {
    "red": (1.0, 0.25, 0.2),
    "green": (0.25, 0.95, 0.3),
    "blue": (0.35, 0.5, 1.0),
    "yellow": (1.0, 0.9, 0.2),
    "pink": (1.0, 0.4, 0.9),
    "cyan": (0.2, 0.9, 1.0),
}
TEXTURES = ("solid", "striped", "checked")
SHAPES = ("bar", "triangle", "dome", "cross")
BACKGROUNDS = ("plain", "textured", "photo")
DARK = 0.3  # backgrounds lie in [0, DARK], shapes reach up to 1; with mixed contrast the two are swapped


@dataclass(frozen=True)
class Look:
    """What a shape looks like, apart from where it is, how large it is and how it is turned."""

    color: str
    texture: str
    shape: str


LOOKS = tuple(
    Look(color, TEXTURES[k % len(TEXTURES)], SHAPES[k % len(SHAPES)]) for k, color in enumerate((*COLORS, *COLORS))
)


@dataclass(frozen=True)
class Track:
    """Where one shape is in each of T frames: arrays (T,); lengths in pixels, angles in radians, opacity in [0, 1]."""

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    angle: np.ndarray
    opacity: np.ndarray


def draw(tracks: list[Track], look: Look, background: np.ndarray, bright: bool = True) -> np.ndarray:
    """Shapes of one look on a background.

    Args:
        background: (H, W, 3) in [0, 1].
        bright: True draws the look in bright colors, False in dark ones.

    Returns:
        float32 (T, H, W, 3) in [0, 1].
    """
    color = np.array(COLORS[look.color], dtype=np.float32)
    if not bright:
        color = color * DARK
    cover, shade = 0.0, 1.0
    for track in tracks:
        u, v = _own_coordinates(track, *background.shape[:2])  # (T, H, W) each
        distance = _distance(look.shape, u, v) * _column(track.radius)  # in pixels
        one = np.clip(0.5 - distance, 0, 1) * _column(track.opacity)
        shade = np.where(one > cover, _texture(look.texture, u, v, track.radius), shade)
        cover = np.maximum(cover, one)
    cover = cover[..., None]  # (T, H, W, 1)
    return background + cover * (shade[..., None] * color - background)  # (T, H, W, 3)


def _column(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)[:, None, None]  # (T,) -> (T, 1, 1)


def _own_coordinates(track: Track, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of every pixel center as the shape sees them: its middle at 0, its radius 1, turned with it."""
    x = np.arange(width, dtype=np.float32) + np.float32(0.5) - _column(track.x)  # (T, 1, W)
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5) - _column(track.y)  # (T, H, 1)
    x = np.mod(x + width / 2, width) - width / 2  # the nearest of the copies left and right of the frame
    y = np.mod(y + height / 2, height) - height / 2
    cos, sin = (_column(turn(track.angle) / track.radius) for turn in (np.cos, np.sin))
    return cos * x + sin * y, cos * y - sin * x


def _distance(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Signed distance to the outline, in radii. No shape looks the same after a turn of less than 90 degrees."""
    if shape == "triangle":  # its tip points to -v
        return np.maximum(0.88 * np.abs(u) - 0.47 * v - 0.45, v - 0.75)
    if shape == "dome":
        return np.maximum(np.hypot(u, v + 0.3) - 0.95, v - 0.3)
    u, v = np.abs(u), np.abs(v)
    if shape == "cross":
        return np.maximum(np.maximum(u, v) - 1, np.minimum(u, v) - 0.35)
    return np.maximum(u - 1, v - 0.45)  # bar


def _texture(texture: str, u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray | np.float32:
    """Brightness in [0.4, 1] at each point of the shape."""
    if texture == "solid":
        return np.float32(1)
    wave = np.sin(np.float32(2 * np.pi) * u)
    if texture == "checked":
        wave = wave * np.cos(np.float32(np.pi) * v)
    return np.clip(wave * _column(radius) / 4, -1, 1) * np.float32(0.3) + np.float32(0.7)


def make_background(kind: str, height: int, width: int, rng: np.random.Generator, bright: bool = False) -> np.ndarray:
    """A background (H, W, 3), float32: dark, in [0, 0.3], or bright, in [0.7, 1]."""
    if kind == "plain":
        picture = np.broadcast_to(rng.random(3, dtype=np.float32), (height, width, 3))
    elif kind == "textured":
        picture = _gratings(height, width, rng)
    else:
        picture = _photo(height, width, rng)
    picture = picture * np.float32(DARK)
    return picture + np.float32(1 - DARK) if bright else picture


def _gratings(height: int, width: int, rng: np.random.Generator, count: int = 3) -> np.ndarray:
    """The sum of a few colored waves, each with 1 to 5 periods over the short side, in [0, 1]."""
    x = (np.arange(width, dtype=np.float32) / min(height, width))[:, None]  # (W, 1)
    y = (np.arange(height, dtype=np.float32) / min(height, width))[:, None, None]  # (H, 1, 1)
    direction, periods, phase = rng.random((3, count), dtype=np.float32)  # (count,) each
    direction, periods = 2 * np.pi * direction, 2 * np.pi * (1 + 4 * periods)
    wave = np.sin(periods * (np.cos(direction) * x + np.sin(direction) * y) + 2 * np.pi * phase)  # (H, W, count)
    weight = rng.random((count, 3), dtype=np.float32)  # (count, 3)
    return (np.float32(0.5) * (wave + 1)) @ (weight / weight.sum(0).max())  # (H, W, 3)


def _photo(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A random piece of a photograph, mirrored half of the time, shrunk or enlarged to (H, W, 3)."""
    sums = _photo_sums()[rng.integers(len(_photo_sums()))]  # (Hp + 1, Wp + 1, 3)
    most = np.array(sums.shape[:2]) - 1
    scale = min(most / (height, width)) * rng.uniform(0.3, 1)
    piece = scale * np.array([height, width])
    top, left = rng.random(2) * (most - piece)
    rows = top + np.linspace(0, piece[0], height + 1)
    columns = left + np.linspace(0, piece[1], width + 1)
    boxes = _at(_at(sums, rows, 0), columns, 1)  # (H + 1, W + 1, 3)
    picture = np.diff(np.diff(boxes, axis=0), axis=1) / scale**2  # (H, W, 3), the mean of the box of each pixel
    picture = picture[:, ::-1] if rng.random() < 0.5 else picture
    return picture.astype(np.float32)


def _at(sums: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    """Values between the entries of an array, by straight lines along one axis."""
    low = np.minimum(positions.astype(int), sums.shape[axis] - 2)
    share = np.expand_dims(positions - low, tuple(range(1, sums.ndim - axis)))
    return np.take(sums, low, axis) * (1 - share) + np.take(sums, low + 1, axis) * share


@lru_cache(maxsize=1)
def _photo_sums() -> tuple[np.ndarray, ...]:
    """Sums over the rectangle above and to the left of each point, for some frames of the book's example clip."""
    photos = read_frames(example_clip(), [0, 36, 72, 107]) / 255.0  # (4, Hp, Wp, 3)
    return tuple(np.pad(photo.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0))) for photo in photos)
