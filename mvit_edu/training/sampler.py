"""Which clips each step of a training sees: a function of the seed and the step alone (Chapter 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

from mvit_edu.data.videos import item_seed
from mvit_edu.distributed import ALONE, Ranks


class TrainSampler(Sampler[list[tuple[int, int]]]):
    """Batches of keys `(epoch, i)` for a whole training, from any step on. Chapter 8.

    Every epoch is a new permutation of the list, drawn from `seed` and the epoch. What does not fill a step at the end
    of an epoch is left out; another permutation leaves out others. One sampler covers all epochs, so that the loader's
    workers go on reading while one epoch ends and the next begins. Where several processes train together (Chapter 9),
    they take the batches of a step in turn: all of them together see what a single one would see that accumulates.

    Args:
        length: number of videos in the list.
        batch: videos in a batch; accumulate: batches of one optimizer step, in each process.
        steps: optimizer steps of the whole training; first_step: the step to begin with, to go on with a run.
        labels: the class of every video, to spread each class evenly over an epoch; None for a plain permutation.
        ranks: which of how many processes this one is.
    """

    def __init__(
        self,
        length: int,
        batch: int,
        steps: int,
        *,
        accumulate: int = 1,
        first_step: int = 0,
        seed: int = 0,
        labels: Sequence[int] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        if min(batch, accumulate) < 1 or not 0 <= first_step <= steps:
            raise ValueError(
                f"batch={batch} and accumulate={accumulate} must be at least 1, and first_step={first_step} must lie "
                f"between 0 and steps={steps}."
            )
        per_step = batch * accumulate * ranks.size
        if length < per_step:
            raise ValueError(
                f"The list has {length} videos, fewer than the {per_step} of one step (batch={batch} x "
                f"accumulate={accumulate} x {ranks.size} processes); make the batch smaller."
            )
        if labels is not None and len(labels) != length:
            raise ValueError(f"There are {len(labels)} labels for {length} videos; give one for each.")
        self.length, self.batch, self.accumulate, self.per_step = length, batch, accumulate, per_step
        self.labels = None if labels is None else torch.as_tensor(labels)  # (length,)
        self.steps, self.first_step, self.seed, self.ranks = steps, first_step, seed, ranks

    @property
    def steps_per_epoch(self) -> int:
        return self.length // self.per_step

    def order(self, epoch: int) -> list[int]:
        """The videos in the order in which an epoch sees them."""
        generator = torch.Generator().manual_seed(item_seed(self.seed, epoch, self.length))
        if self.labels is None:
            return torch.randperm(self.length, generator=generator).tolist()
        place = torch.empty(self.length)  # from 0 to 1 in the epoch
        for label in self.labels.unique():
            members = (self.labels == label).nonzero().flatten()
            slots = torch.randperm(len(members), generator=generator)
            place[members] = (slots + torch.rand(len(members), generator=generator)) / len(members)
        return place.argsort(stable=True).tolist()

    def position(self, step: int) -> tuple[int, int]:
        """The epoch, and the place in its order, at which a step begins."""
        epoch, within = divmod(step, self.steps_per_epoch)
        return epoch, within * self.per_step

    def turns(self) -> range:
        """Which batches of a step are this process's; all processes together have `accumulate * size`."""
        return range(self.ranks.rank, self.accumulate * self.ranks.size, self.ranks.size)

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        known, order = -1, []
        for step in range(self.first_step, self.steps):
            epoch, start = self.position(step)
            if epoch != known:
                known, order = epoch, self.order(epoch)
            for turn in self.turns():
                begin = start + turn * self.batch
                yield [(epoch, index) for index in order[begin : begin + self.batch]]
