"""The processes of one training under `torchrun`: who they are, what they share, and who is missing (Chapter 9).

Every function also works in a program of one process, where there is nothing to share.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")
START_LIMIT = timedelta(minutes=5)  # one host may load its programs more slowly than another
POLL_SECONDS = 0.02
ROLL_CALL_SECONDS = 10.0
LINGER_SECONDS = 2.0  # `torchrun` reports the process that ends first: let that be the one with the cause, then rank 0
# In what these libraries raise, a plain RuntimeError; a video may be called igloo.mp4.
NETWORK_WORDS = re.compile(r"\b(gloo\b|nccl|processgroup|tcpstore)", re.IGNORECASE)


class LostProcess(RuntimeError):
    """Another process of the training has ended, or does not answer."""


@dataclass(frozen=True)
class Ranks:
    """Which of the processes this one is. Chapter 9.

    Args:
        rank: its number among all processes, from 0.
        size: how many processes there are (the "world size").
        local_rank: its number among the processes of its host.
        local_size: how many processes its host has.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which writes logs and checkpoints."""
        return self.rank == 0

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size} ({socket.gethostname()})"


ALONE = Ranks()


def launched() -> bool:
    """Whether `torchrun` (or a program that sets the same variables) started this process."""
    return all(name in os.environ for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))


def launched_ranks() -> Ranks:
    """What the variables of `torchrun` say, before the processes have met."""
    if not launched():
        return ALONE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    defaults = ("0", "1", os.environ["RANK"], os.environ["WORLD_SIZE"])
    return Ranks(*(int(os.environ.get(name, default)) for name, default in zip(names, defaults, strict=True)))


def current() -> Ranks:
    """This process among those that have met in `process_group`; rank 0 of 1 where there is no group."""
    if not (dist.is_available() and dist.is_initialized()):
        return ALONE
    here = launched_ranks()
    return Ranks(dist.get_rank(), dist.get_world_size(), here.local_rank, here.local_size)


@contextlib.contextmanager
def process_group(device: torch.device | str = "cpu", timeout_minutes: float = 10.0) -> Iterator[Ranks]:
    """Meet the other processes that `torchrun` started, gloo on CPUs and NCCL on GPUs. Chapter 9.

    Without `torchrun`, and inside another `process_group`, nothing happens. After an error the group is not taken
    down: the process is about to end, and the others must not wait for it.

    Args:
        device: where the model will be. timeout_minutes: how long to wait for another process before giving up.

    Raises:
        LostProcess: from whatever is inside, when another process has ended or does not answer; says which.
        ValueError: the program has made a group of its own that can share nothing that is on a CPU.
    """
    if not launched() or dist.is_initialized():
        if current().size > 1 and "cpu" not in dist.get_backend_config():
            raise ValueError(
                f"The process group of this program is for GPUs only ({dist.get_backend_config()}); make it by "
                'init_process_group("cpu:gloo,cuda:nccl"), or leave that to mvit_edu.'
            )
        yield current()
        return
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", launched_ranks().local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    timeout = timedelta(minutes=timeout_minutes)
    dist.init_process_group(
        backend,
        store=_store_of_this_start(max(timeout, START_LIMIT)),
        rank=launched_ranks().rank,
        world_size=launched_ranks().size,
        timeout=timeout,
        device_id=device if device.type == "cuda" else None,
    )
    witness = dist.new_group(backend="gloo", timeout=timeout)  # connections that nothing else uses
    ranks = current()
    try:
        yield ranks
    except RuntimeError as error:
        if isinstance(error, LostProcess) or not _of_the_network(error):
            raise
        message = _who_is_lost(ranks, witness, timeout_minutes)
        time.sleep(LINGER_SECONDS if ranks.first else 2 * LINGER_SECONDS)
        raise LostProcess(message) from error
    dist.destroy_process_group()


def _of_the_network(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or NETWORK_WORDS.search(str(error)) is not None


def _store_of_this_start(timeout: timedelta) -> dist.Store:
    """The store of `torchrun`, with a prefix that only the processes of this start know.

    After a restart `torchrun` hands out the same store, in which the addresses of the processes that died still stand,
    and the new ones would try to connect to them (issue 135712 of PyTorch). Its count of restarts is no help: it may
    differ between hosts. So rank 0 answers each of the others by a name that was never used before.
    """
    store, rank, size = next(dist.rendezvous("env://", timeout=timeout))
    name = uuid.uuid4().hex
    if rank:
        store.set(f"hello/{rank}", name)
        prefix = store.get(f"answer/{name}").decode()  # waits for rank 0
        store.set(f"{prefix}/{rank}", "here")
        return dist.PrefixStore(prefix, store)
    others = range(1, size)
    end = time.monotonic() + timeout.total_seconds()
    while not all(store.check([f"{name}/{other}"]) for other in others):
        for other in others:
            if store.check([f"hello/{other}"]):  # from this start, or an old one: answering that does no harm
                store.set(f"answer/{store.get(f'hello/{other}').decode()}", name)
        if time.monotonic() > end:
            missing = [str(other) for other in others if not store.check([f"{name}/{other}"])]
            raise LostProcess(f"Rank {', '.join(missing)} did not come within {timeout.total_seconds():g} s.")
        time.sleep(POLL_SECONDS)
    return dist.PrefixStore(name, store)


def _who_is_lost(ranks: Ranks, witness: dist.ProcessGroup, timeout_minutes: float) -> str:
    """Call the roll: rank 0 hears who is still there."""
    limit = f"{60 * timeout_minutes:g} s"
    try:
        dist.monitored_barrier(witness, timedelta(seconds=ROLL_CALL_SECONDS), wait_all_ranks=True)
    except RuntimeError as error:
        text = str(error)
        if "failed to pass" in text:
            lost = text.split("failed to pass")[0].split("]:")[-1].replace("Ranks", "").replace("Rank", "").strip()
            return (
                f"Rank {lost} did not answer within {limit}, so the others stop. Look at its host and its last "
                "messages; if it was only slow, raise timeout_minutes."
            )
        if not ranks.first and "rank 0" in text.lower() and "reached" in text:
            return f"The connection to another process was lost (time limit {limit}); rank 0 says to which."
        return "The connection to another process was lost, so this one stops; the message of that one says why."
    return f"All {ranks.size} processes answer, but one was slower than {limit}; raise timeout_minutes."


def shard(length: int, ranks: Ranks | None = None) -> range:
    """The places 0 to length - 1 that are this process's: every `size`-th one. Chapter 9.

    All shards together hold every place exactly once, also where `size` does not divide `length`; nothing is repeated
    to make them equally long, and with fewer places than processes some are empty.
    """
    ranks = ranks or current()
    return range(ranks.rank, length, ranks.size)


def mean_over_ranks(value: torch.Tensor) -> torch.Tensor:
    """The mean of every process's tensor, the same on all. Chapter 9."""
    ranks = current()
    if ranks.size == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / ranks.size


def largest(*values: int) -> list[int]:
    """For each number the largest that any process has, the same on all."""
    if current().size == 1:
        return list(values)
    found = torch.tensor(values)  # on the CPU, so that it does not wait for a GPU
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return found.tolist()


def meet() -> None:
    """Wait until every process has come here."""
    largest(0)


def gather(value: T) -> list[T]:
    """What every process has, by rank, the same list on all. The values must be picklable, their tensors on the CPU."""
    ranks = current()
    if ranks.size == 1:
        return [value]
    found: list[Any] = [None] * ranks.size
    dist.all_gather_object(found, value)
    return found


def from_first(value: T | None) -> T:
    """What rank 0 has; the other processes may give None."""
    if current().size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def check_same(values: dict[str, object], what: str) -> None:
    """Stop all processes where they were not given the same.

    Raises:
        ValueError: names the first of the values that differs, and who has what; on every process.
    """
    everyone = gather(values)
    for key in values:
        for rank, other in enumerate(everyone):
            if other.get(key) != everyone[0].get(key):
                raise ValueError(
                    f"The processes do not have the same {what}: rank 0 has {key}={everyone[0].get(key)!r}, rank "
                    f"{rank} has {key}={other.get(key)!r}; give all hosts the same command, code and data."
                )
