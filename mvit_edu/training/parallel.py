"""One model on many processes: copies that average their gradients (DDP), or shards (FSDP2) (Chapter 9)."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from mvit_edu.distributed import current, from_first

PARALLEL = ("ddp", "fsdp")


def spread(model: nn.Module, parallel: str, device: torch.device) -> nn.Module:
    """The module to call in training, on every process of the group; without a group, the model itself. Chapter 9.

    All processes start from the weights of rank 0. "ddp" keeps a whole copy on each and averages the gradients while
    the backward pass still runs. "fsdp" (FSDP2, `fully_shard`) keeps 1/N of every parameter, its gradient and its
    optimizer state on each of N processes, and puts the parameters of one block together when it is computed; the
    model itself becomes the sharded one. Make the optimizer afterwards.
    """
    ranks = current()
    if parallel not in PARALLEL:
        raise ValueError(f"parallel={parallel!r} is unknown; use {' or '.join(PARALLEL)}.")
    if ranks.size == 1:
        return model
    if parallel == "ddp":
        # said of pos_embed.cls, whose gradient of one row is a view with odd strides; eight numbers that cost nothing
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        ids = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
    for tensor in model.state_dict().values():
        dist.broadcast(tensor, src=0)
    mesh = init_device_mesh(device.type, (ranks.size,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    return fully_shard(model, mesh=mesh)  # what is in no block: embeddings, last norm, head


@contextlib.contextmanager
def sharing(model: nn.Module, last: bool) -> Iterator[None]:
    """Forward and backward pass of one of several accumulated batches: only the last one averages. Chapter 9."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
    with contextlib.nullcontext() if last or not isinstance(model, DistributedDataParallel) else model.no_sync():
        yield


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together, on every process; another one as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@contextlib.contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Inside it, every process has all weights of a sharded model and may call it as often as it likes.

    An evaluation needs that: the processes may have different numbers of batches, and each forward pass of a sharded
    model would wait for all others.
    """
    shards = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in shards:
        module.set_reshard_after_forward(False)
        module.unshard()
    try:
        yield
    finally:
        for module in shards:
            module.set_reshard_after_forward(module is not model)  # as `fully_shard` sets it
            module.reshard()


def whole_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict, dict]:
    """The states of model and optimizer as one process would have them, on rank 0; empty on the others. Chapter 9.

    All processes must call it. What the optimizer keeps is named by parameter, so that it fits any number of
    processes, "ddp" as well as "fsdp".
    """
    return get_state_dict(model, optimizer, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def load_whole_state(model: nn.Module, optimizer: torch.optim.Optimizer, states: tuple[dict, dict]) -> None:
    """The reverse of `whole_state`: what rank 0 has goes to all processes."""
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=current().size > 1)
    set_model_state_dict(model, dict(states[0]), options=options)
    if from_first(bool(states[1].get("state"))):  # SGD without momentum keeps nothing, which PyTorch refuses to load
        set_optimizer_state_dict(model, optimizer, dict(states[1]), options=options)
