"""The settings of a training on this machine (Chapter 8)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainConfig:
    """What a training needs to know besides the recipe. Chapter 8.

    Args:
        out: folder of the run: `checkpoints/`, `metrics.jsonl`, `tensorboard/`.
        batch: videos in a forward pass, of each process where several train together.
        accumulate: forward passes whose gradients make one optimizer step, in each process.
        workers: processes that read videos, for each that trains; 0 reads in this one.
        seed: of the order of the videos, their augmentation, and all that is random in the model.
        device: "auto" takes a GPU if there is one; otherwise a name such as "cuda:1" or "cpu".
        precision: "fp32", "bf16" (autocast), or "auto": bf16 on a GPU that has it, fp32 elsewhere.
        checkpoint_blocks: how many of the first blocks are computed again in the backward pass, to save memory.
        compile: compile each block with `torch.compile`.
        parallel: how several processes share the work: "ddp", each with a whole model, or "fsdp", each with a part.
        timeout_minutes: how long to wait for another process before the training ends.
        validate_every: epochs between two validations; there is always one at the end.
        save_minutes: minutes between two checkpoints; there is always one after a validation and at the end.
        keep: how many of the newest checkpoints stay, beside the best.
        log_every: steps between two rows of the log.
        max_failures: share of the videos that may be unreadable before the run stops.
        tensorboard: write TensorBoard files, where the package is installed.
        progress: show a bar with the time left.

    Raises:
        ValueError: for a value that cannot be used.
    """

    out: str
    batch: int = 8
    accumulate: int = 1
    workers: int = 1
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    checkpoint_blocks: int = 0
    compile: bool = False
    parallel: str = "ddp"
    timeout_minutes: float = 10.0
    validate_every: float = 1.0
    save_minutes: float = 10.0
    keep: int = 2
    log_every: int = 10
    max_failures: float = 0.05
    tensorboard: bool = True
    progress: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", str(self.out))  # a checkpoint holds plain values only
        for name in ("batch", "accumulate", "keep", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        for name in ("workers", "checkpoint_blocks", "save_minutes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must not be below 0.")
        if not self.validate_every > 0 or not 0 <= self.max_failures <= 1:
            raise ValueError(
                f"validate_every={self.validate_every} must be above 0, and max_failures={self.max_failures} a share "
                "from 0 to 1."
            )
        if not self.timeout_minutes > 0:
            raise ValueError(f"timeout_minutes={self.timeout_minutes} must be above 0.")
        if self.parallel not in ("ddp", "fsdp"):
            raise ValueError(f'parallel={self.parallel!r} is unknown; use "ddp" or "fsdp".')
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f'precision={self.precision!r} is unknown; use "auto", "fp32" or "bf16".')
