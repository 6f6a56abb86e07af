"""What a training step costs on many devices: compute, all-reduce and decoding, from a few numbers (Chapter 9).

Every number of a machine says where it comes from. `compare` puts the model beside what was measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

import numpy as np

from mvit_edu.model.config import MViTConfig
from mvit_edu.model.stages import stage_table

SOURCES = ("measured", "data sheet", "assumed")
BACKWARD = 2 / 3  # of a step's multiply-adds


class Known(NamedTuple):
    """A number, how we know it (one of `SOURCES`), and a note on it."""

    value: float
    source: str
    note: str = ""


@dataclass(frozen=True)
class Job:
    """What every device does in a step. Chapter 9.

    Args:
        macs: multiply-adds of one clip, forward.
        params: learned numbers, each with a gradient.
        clips: of one device in one step.
        repeats: augmented copies of a decoded clip among them (the paper: 2).
        gradient_bytes: of one number in the all-reduce; 4 is float32, also where autocast computes in bfloat16.
    """

    macs: int
    params: int
    clips: int
    repeats: int = 1
    gradient_bytes: int = 4

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number from 1 on.")

    @classmethod
    def of(cls, config: MViTConfig, clips: int, repeats: int = 1) -> Job:
        """The job of a model, counted by its stage table (Chapter 5)."""
        table = stage_table(config)
        return cls(table.macs, table.params, clips, repeats)

    @property
    def flop(self) -> int:
        """Of a step: 2 a multiply-add, and the backward pass takes twice the forward pass."""
        return 3 * 2 * self.macs * self.clips

    @property
    def bytes(self) -> int:
        """Of all gradients."""
        return self.params * self.gradient_bytes


@dataclass(frozen=True)
class Cluster:
    """Hosts with devices, as a training step meets them. Chapter 9.

    Args:
        name: for prints.
        flops: FLOP/s that a training step reaches on one device.
        per_host: devices of a host.
        inside: bytes/s from a device to the next one of its host, as an all-reduce reaches it.
        between: the same from host to host; None: there is one host.
        latency: seconds of a message from one device to the next, whatever its size.
        overlap: share of the backward pass during which gradients can travel (0: they travel after it).
        cores: of a host, to decode and augment.
        decode: seconds of one core to open a file and decode a clip.
        augment: seconds of one core to augment one copy of a clip.
        shared_cores: the devices are processes with one thread each on these cores. More processes than cores take
            turns to compute; their messages do not, because they wait for one another more than for a core.

    Raises:
        ValueError: a number without a source, or one that cannot be.
    """

    name: str
    flops: Known
    per_host: Known
    inside: Known
    between: Known | None
    latency: Known
    overlap: Known
    cores: Known
    decode: Known
    augment: Known
    shared_cores: bool = False

    def __post_init__(self) -> None:
        for name, known in self.known().items():
            if not isinstance(known, Known) or known.source not in SOURCES:
                raise ValueError(
                    f"{name}={known!r} must say where it is from: Known(value, source), and source is one of "
                    f"{', '.join(SOURCES)}."
                )
            if name == "overlap" and not 0 <= known.value <= 1:
                raise ValueError(f"overlap is {known.value:g}; it must lie from 0 to 1.")
            may_be_0 = name in ("latency", "overlap", "decode", "augment")
            if not (known.value >= 0 if may_be_0 else known.value > 0):
                raise ValueError(f"{name} is {known.value:g}; it must {'not be below' if may_be_0 else 'be above'} 0.")

    def known(self) -> dict[str, Known]:
        """All numbers by name, with their sources."""
        skipped = ("name", "shared_cores") + (("between",) if self.between is None else ())
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in skipped}

    def __str__(self) -> str:
        rows = [f"{name:9} {k.value:9.3g}  {k.source:10}  {k.note}".rstrip() for name, k in self.known().items()]
        return "\n".join([self.name, *rows])


@dataclass(frozen=True)
class StepCost:
    """A predicted step; all times in seconds. Chapter 9.

    `all_reduce` is how long the gradients travel, `exposed` the part of it that the backward pass does not hide,
    `decode` how long the cores of a host make the clips of a step, `waiting` what a step waits for them.
    `efficiency` is the rate over that of as many devices which each work alone. `bound` says what limits the rate:
    "decode" if the step waits for clips, otherwise the longer one of "compute" and the exposed "all-reduce".
    """

    devices: int
    compute: float
    all_reduce: float
    exposed: float
    decode: float
    waiting: float
    step: float
    clips_per_second: float
    efficiency: float
    bound: str

    def row(self) -> dict[str, float | int | str]:
        """For `mvit_edu.visualize.draw_scaling`."""
        return dataclasses.asdict(self)


def ring_seconds(size: float, devices: int, bandwidth: float, latency: float) -> float:
    """A ring all-reduce of `size` bytes: 2(n-1) messages of size/n, one after the other. Chapter 9."""
    return 2 * (devices - 1) * (size / devices / bandwidth + latency)


def predict(job: Job, cluster: Cluster, devices: int) -> StepCost:
    """The cost of a training step on so many devices. Chapter 9.

    The ring is as fast as its slowest link; workers decode ahead, so a step waits only where they are slower than it.

    Raises:
        ValueError: no such number of devices.
    """
    if not isinstance(devices, int) or devices < 1:
        raise ValueError(f"devices={devices!r} must be a whole number from 1 on.")
    per_host, cores = cluster.per_host.value, cluster.cores.value
    if devices > per_host and cluster.between is None:
        raise ValueError(f"{cluster.name} is one host of {per_host:g} devices; {devices} need `between`, its network.")
    here = min(devices, per_host)  # devices of a full host
    turns = max(1.0, here / cores) if cluster.shared_cores else 1.0
    link = cluster.inside if devices <= per_host else cluster.between
    bandwidth = min(link.value, cluster.inside.value)
    compute = turns * job.flop / cluster.flops.value
    all_reduce = ring_seconds(job.bytes, devices, bandwidth, cluster.latency.value)
    exposed = max(0.0, all_reduce - cluster.overlap.value * BACKWARD * compute)
    busy = compute + exposed
    decode = here * job.clips * (cluster.decode.value / job.repeats + cluster.augment.value) / cores
    taken = here / cores * busy / turns if cluster.shared_cores else 0.0  # of the cores' time, by the devices
    step = max(busy, taken + decode)
    rate = devices * job.clips / step
    alone = rate if devices == 1 else devices * predict(job, cluster, 1).clips_per_second
    bound = "decode" if step > busy else "all-reduce" if exposed > compute else "compute"
    return StepCost(devices, compute, all_reduce, exposed, decode, step - busy, step, rate, rate / alone, bound)


def fit_ring(rows: Iterable[Mapping]) -> tuple[float, float]:
    """Bandwidth (bytes/s) and latency (s) that fit measured all-reduces best, by the squares of relative errors.

    Args:
        rows: with `processes`, `bytes` and `seconds`, a list whose median counts.
    """
    rows = list(rows)
    if len({row["bytes"] for row in rows}) < 2:
        raise ValueError("A line through one point is no fit; measure all-reduces of at least two sizes.")
    seconds = np.array([median(row["seconds"]) for row in rows])
    messages = np.array([2 * (row["processes"] - 1) for row in rows])
    sent = np.array([2 * (row["processes"] - 1) / row["processes"] * row["bytes"] for row in rows])
    scaled = np.stack([messages / seconds, sent / seconds], axis=1)  # (n, 2)
    latency, per_byte = np.linalg.lstsq(scaled, np.ones(len(rows)), rcond=None)[0]
    if latency < 0:
        latency, per_byte = 0.0, scaled[:, 1].sum() / (scaled[:, 1] ** 2).sum()
    return float(1 / per_byte), float(latency)
