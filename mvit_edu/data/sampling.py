"""Which moments of a video make a clip: the samplers of the paper's datasets (Chapter 7)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

SAMPLINGS = ("window", "stride", "segments")


class Footage(Protocol):
    """What a sampler needs to know of a video; `Video` and `VideoInfo` both tell it."""

    frames: int
    fps: float
    seconds: float


@dataclass(frozen=True)
class ClipSpec:
    """T×τ: how many frames a clip has, how far apart they are, and how they are placed in a video. Chapter 7.

    Every method returns times in seconds after the first frame of the video; `read_frames(path, times=...)` gives
    the frames on screen at these times. A video that is shorter than the clip has its last frame repeated.

    Args:
        frames: T, the number of frames in the clip.
        stride: τ, the distance of two frames, counted in frames at the rate `fps`.
        sampling: how the T frames are placed.

            - "window" (Kinetics): T times, evenly from the first to the last frame of a window of T·τ frames, so
              that the step is (T·τ - 1) / (T - 1): 4.2 and not 4 for 16×4. Source: the released code's sampler;
              the paper says only "a temporal clip of T×τ".
            - "stride" (AVA, Charades): exactly τ frames apart. Source: the released code for these datasets.
            - "segments" (Something-Something-v2): the video is cut into T equal segments and one frame is
              taken from each; τ is not used. Source: Appendix D.4 and the released code.
        fps: the rate in which τ counts, whatever the rate of the file. All datasets of the paper count at 30.
            None counts the frames of the file.

    Raises:
        ValueError: if a field has an impossible value.
    """

    frames: int = 16
    stride: int = 4
    sampling: str = "window"
    fps: float | None = 30.0

    def __post_init__(self) -> None:
        if self.frames < 1 or self.stride < 1:
            raise ValueError(f"frames={self.frames} and stride={self.stride} must both be at least 1.")
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling={self.sampling!r} is unknown; use one of {', '.join(SAMPLINGS)}.")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ValueError(f"fps={self.fps} must be a number above 0, or None for the rate of the file.")

    @property
    def step(self) -> float:
        """The distance of two frames in frames at the rate `fps`; it does not apply to segments."""
        if self.sampling == "window" and self.frames > 1:
            return (self.frames * self.stride - 1) / (self.frames - 1)
        return float(self.stride)

    def random(self, video: Footage, generator: torch.Generator | None = None) -> np.ndarray:
        """The times of one random clip, for training: float64 (T,), in seconds.

        Args:
            video: what it is taken from: a `Video` or a `VideoInfo`.
            generator: where the randomness comes from; None takes torch's global generator.
        """
        if self.sampling == "segments":
            low, high = self._segments(video)
            chance = torch.rand(self.frames, generator=generator, dtype=torch.float64).numpy()  # in [0, 1)
            return self._seconds(low + np.floor(chance * (high - low + 1)), video)
        chance = float(torch.rand((), generator=generator, dtype=torch.float64))
        room = self._room(video)
        return self._clip(chance * room if self.sampling == "window" else math.floor(chance * (room + 1)), video)

    def views(self, video: Footage, count: int = 1) -> np.ndarray:
        """The times of K clips spread evenly over the video, for testing: float64 (K, T), in seconds.

        One view lies in the middle. Of several, the first begins with the video and view i begins after
        i·floor(room / (K - 1)) frames, where room is what the video is longer than the clip: the rule of the
        released code. Segments have one view, the middle frame of each segment, because further ones
        would be the same.
        """
        if count < 1:
            raise ValueError(f"count={count} views must be at least 1.")
        if self.sampling == "segments":
            if count > 1:
                raise ValueError(f"Segments cover the whole video, so there is one view of it; got count={count}.")
            low, high = self._segments(video)
            return self._seconds((low + high) // 2, video)[None]  # (1, T)
        room = self._room(video)
        step = math.floor(room / 2) if count == 1 else math.floor(room / (count - 1))
        starts = [step] if count == 1 else [step * view for view in range(count)]
        return np.stack([self._clip(start, video) for start in starts])  # (K, T)

    def centered(self, video: Footage, second: float) -> np.ndarray:
        """The times of the clip around one moment, for AVA: float64 (T,), in seconds.

        With c the frame at `second`, these are the frames c - T·τ/2, c - T·τ/2 + τ, ..., so that there are T/2 of
        them before c; those before the first or after the last frame of the video are replaced by it.
        """
        if not 0 <= second <= video.seconds:
            raise ValueError(f"second={second} is outside the video, which lasts {video.seconds:.3f} s.")
        middle = round(second * self._rate(video))
        numbers = middle - self.frames * self.stride // 2 + self.stride * np.arange(self.frames)
        return self._seconds(numbers, video)

    def _rate(self, video: Footage) -> float:
        return video.fps if self.fps is None else self.fps

    def _length(self, video: Footage) -> int:
        """How many frames the video would have at the rate `fps`."""
        return max(1, math.floor(video.seconds * self._rate(video) + 1e-6))

    def _room(self, video: Footage) -> float:
        """By how many frames the video is longer than a clip: of the file for a window, otherwise at `fps`."""
        if self.sampling == "window":
            return max(0.0, video.frames - self._window(video))
        return max(0, self._length(video) - (self.frames - 1) * self.stride - 1)

    def _window(self, video: Footage) -> float:
        """The length of the window of T·τ frames at `fps`, in frames of the file."""
        return self.frames * self.stride / self._rate(video) * video.fps

    def _clip(self, start: float, video: Footage) -> np.ndarray:
        """The clip that begins at a frame: of the file for a window, otherwise at the rate `fps`."""
        if self.sampling == "window":
            positions = np.linspace(start, max(start, start + self._window(video) - 1), self.frames)
            # the released code takes the whole frame at or before each position
            return np.floor(positions + 1e-9).clip(0, video.frames - 1) / video.fps
        return self._seconds(start + self.stride * np.arange(self.frames), video)

    def _segments(self, video: Footage) -> tuple[np.ndarray, np.ndarray]:
        """The first and the last frame of each segment, both (T,), at the rate `fps`."""
        edges = np.round(np.arange(self.frames + 1) * (self._length(video) - 1) / self.frames)  # (T + 1,)
        return edges[:-1], edges[1:]

    def _seconds(self, numbers: np.ndarray, video: Footage) -> np.ndarray:
        """Times of frames that are counted at the rate `fps`, kept inside the video."""
        return np.clip(numbers, 0, self._length(video) - 1) / self._rate(video)
