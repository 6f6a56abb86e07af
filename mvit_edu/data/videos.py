"""From a list of videos to batches of clips: decode, sample, augment, the same way every time (Chapter 7)."""

from __future__ import annotations

import dataclasses
import hashlib
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from mvit_edu.data.clips import open_video
from mvit_edu.data.failures import Failure
from mvit_edu.data.packets import VideoError
from mvit_edu.data.reader import Video
from mvit_edu.data.sampling import ClipSpec
from mvit_edu.data.video_list import VideoItem, VideoList

NO_LABEL = -1


@dataclass(frozen=True)
class Sample:
    """What `VideoDataset` gives for one video.

    Args:
        clip: float (R, 3, T, H, W), R clips of the video; None if it could not be read and was not replaced.
        label: the number of the class, -1 if unknown; for several labels a float vector (num_classes,) of 0 and 1.
        index: the place of this very video in the list, also where it replaces another.
        failures: the videos that could not be read on the way.
    """

    clip: torch.Tensor | None
    label: int | torch.Tensor
    index: int
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Several samples. The R clips of a video follow one another, so `x.unflatten(0, (-1, R))` parts the videos.

    Args:
        clips: float (B*R, 3, T, H, W); B counts only videos that were read, and may be 0.
        labels: int64 (B*R,), or float (B*R, num_classes) for several labels.
        index: int64 (B*R,), the place of each clip's video in the list.
        repeats: R.
        failures: the videos that could not be read.
    """

    clips: torch.Tensor
    labels: torch.Tensor
    index: torch.Tensor
    repeats: int
    failures: tuple[Failure, ...]

    @property
    def seen(self) -> int:
        """How many videos were drawn for this batch, the failed ones included."""
        return len(self.clips) // self.repeats + len(self.failures)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Called by `DataLoader(pin_memory=True)`."""
        return self._each(torch.Tensor.pin_memory)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        return dataclasses.replace(self, clips=change(self.clips), labels=change(self.labels), index=change(self.index))


class VideoDataset(Dataset):
    """Clips of the videos of a list.

    `dataset[epoch, i]` is a pure function of `seed`, `epoch` and `i`: neither the number of workers nor what was read
    before changes a bit of it, so a run can go on from the middle of an epoch. A sampler that gives pairs
    `(epoch, i)` to the loader carries the epoch into the workers. `dataset[i]` is `dataset[0, i]`.

    In training (`views=None`) an item is one random clip, decoded once and augmented `repeats` times. A video that
    cannot be read is replaced by another, drawn from the item's own generator. In evaluation (`views=K`) an item is
    K clips spread over the video, and a video that cannot be read stays out: its sample has no clip.

    Args:
        videos: the list.
        spec: which seconds of a video make a clip.
        transform: uint8 (T, 3, H, W) -> float (3, T, h, w), or (crops, 3, T, h, w) for several crops. Its
            randomness must come from torch's global generator, which is seeded for every item and put back after.
        repeats: augmented copies of the same clip in training (the paper uses 2).
        views: None to train; K >= 1 to evaluate.
        max_attempts: how many videos to try for one training item.

    Raises:
        RuntimeError: from an item, if `max_attempts` videos in a row cannot be read.
    """

    def __init__(
        self,
        videos: VideoList,
        spec: ClipSpec,
        transform: Callable[[torch.Tensor], torch.Tensor],
        *,
        repeats: int = 1,
        seed: int = 0,
        views: int | None = None,
        max_attempts: int = 10,
    ) -> None:
        if not len(videos):
            raise ValueError("The list holds no videos.")
        if min(repeats, max_attempts, 1 if views is None else views) < 1:
            raise ValueError(f"repeats={repeats}, views={views} and max_attempts={max_attempts} must be at least 1.")
        if views is not None and repeats != 1:
            raise ValueError(f"repeats={repeats} is for training; with views={views} leave it at 1.")
        self.videos = videos
        self.spec = spec
        self.transform = transform
        self.repeats = repeats
        self.seed = seed
        self.views = views
        self.max_attempts = max_attempts
        self._several = videos.multi_label
        self._num_classes = videos.num_classes

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes in the order of their numbers; empty if the list has none."""
        return self.videos.classes

    @property
    def labels(self) -> tuple[int, ...]:
        """The class of every video; an error where videos have several or none."""
        return checked_labels(item.label for item in self.videos)

    def name(self, index: int) -> str:
        """The path of a video, for messages."""
        return self.videos.items[index].path

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        epoch, index = map(operator.index, key if isinstance(key, (tuple, list)) else (0, key))
        if not 0 <= index < len(self):
            raise IndexError(f"There is no video {index}; the list has {len(self)}, counted from 0.")
        generator = torch.Generator().manual_seed(item_seed(self.seed, epoch, index))
        failures: list[Failure] = []
        for _ in range(1 if self.views else self.max_attempts):
            item = self.videos.items[index]
            try:
                pixels, times = self._read(item, generator)
            except (VideoError, OSError) as error:
                failures.append(Failure.of(item.path, error))
                if self.views is None:
                    index = int(torch.randint(len(self), (), generator=generator))
                continue
            return Sample(self._transformed(pixels, generator), self._label(item, times), index, tuple(failures))
        if self.views:
            return Sample(None, self._label(self.videos.items[index], None), index, tuple(failures))
        raise RuntimeError(
            f"{self.max_attempts} videos in a row could not be read, the last of them {failures[-1]} "
            "Check the list with `mvit-edu data check`."
        )

    def _read(self, item: VideoItem, generator: torch.Generator) -> tuple[torch.Tensor, np.ndarray]:
        """Frames of every clip, uint8 (clips, T, 3, H, W), and their seconds, (clips, T)."""
        with open_video(item.path) as video:
            part, begin = _part(video, item)
            if self.views:
                times = begin + self.spec.views(part, self.views)  # (views, T)
            else:
                times = begin + self.spec.random(part, generator)[None]  # (1, T)
            frames = torch.from_numpy(video.read(times=times.reshape(-1)))  # (clips*T, H, W, 3)
        return frames.permute(0, 3, 1, 2).unflatten(0, times.shape), times  # (clips, T, 3, H, W)

    def _transformed(self, pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seed = int(torch.randint(2**63 - 1, (), generator=generator))
        made = []
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed a GPU of this process, too
            for clip in pixels:
                for _ in range(self.repeats):
                    done = self.transform(clip)
                    made.append(done if done.ndim == 5 else done[None])  # (crops, 3, T, h, w)
        return torch.cat(made)  # (R, 3, T, h, w)

    def _label(self, item: VideoItem, times: np.ndarray | None) -> int | torch.Tensor:
        if not self._several:
            return NO_LABEL if item.label is None else item.label
        labels = item.labels
        if self.views is None and item.actions and times is not None:  # only what the clip touches
            labels = {n for n, first, last in item.actions if first <= times.max() and times.min() <= last}
        return torch.zeros(self._num_classes).index_fill(0, torch.tensor(sorted(labels), dtype=torch.int64), 1.0)


def collate(samples: Sequence[Sample]) -> Batch:
    """For `DataLoader(collate_fn=collate)`; samples without a clip leave only their failures."""
    failures = tuple(failure for sample in samples for failure in sample.failures)
    read = [sample for sample in samples if sample.clip is not None]
    if not read:
        none = torch.empty(0, dtype=torch.int64)
        return Batch(torch.empty(0, 3, 0, 0, 0), none, none, 1, failures)
    sizes = {tuple(sample.clip.shape) for sample in read}
    if len(sizes) > 1:
        raise ValueError(f"Clips of different sizes in one batch: {sorted(sizes)}; the transform must give one size.")
    repeats = len(read[0].clip)
    labels = [torch.as_tensor(sample.label) for sample in read]
    return Batch(
        torch.cat([sample.clip for sample in read]),  # (B*R, 3, T, H, W)
        torch.stack(labels).repeat_interleave(repeats, dim=0),
        torch.tensor([sample.index for sample in read]).repeat_interleave(repeats),
        repeats,
        failures,
    )


def item_seed(seed: int, epoch: int, index: int) -> int:
    """One number from three, the same on every machine and in every run, and unlike for neighbors."""
    digest = hashlib.blake2b(f"{seed} {epoch} {index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def checked_labels(labels: Iterable[object]) -> tuple[int, ...]:
    """Class numbers, or one sentence where a video has several or none."""
    found = tuple(labels)
    if not all(isinstance(label, int) for label in found):
        raise ValueError("Not every video has one class; only then can classes be spread over an epoch.")
    return found


@dataclass(frozen=True)
class _Part:
    """A part of a video, to which a `ClipSpec` is applied as if it were a whole one."""

    frames: int
    fps: float
    seconds: float


def _part(video: Video, item: VideoItem) -> tuple[Video | _Part, float]:
    """What lies between the start and the end of an item, and the second at which it begins."""
    if item.start is None and item.end is None:
        return video, 0.0
    begin = item.start or 0.0
    end = video.seconds if item.end is None else min(item.end, video.seconds)
    if begin >= end:
        raise VideoError(f"{item.path}: its part begins at {begin:g} s, but the file ends at {end:g} s.")
    return _Part(max(1, round((end - begin) * video.fps)), video.fps, end - begin), begin
