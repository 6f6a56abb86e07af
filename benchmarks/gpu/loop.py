"""One training loop for all models of the comparison, which take turns in it."""

from __future__ import annotations

import argparse
import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.contenders import torchvision_twin
from benchmarks.gpu.log import Log, step_row
from benchmarks.gpu.routes import routed
from benchmarks.measure import amp
from mvit_edu import MViT, MViTConfig, get_config, stage_table


@dataclass
class Contender:
    """A model in the loop; several may share one model and its optimizer."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    checkpoint: int = 0
    route: str | None = None
    dtype: torch.dtype = torch.bfloat16

    def step(self, clip: Tensor, labels: Tensor) -> None:
        """As `train_step` of the training loop: it reads the loss and the norm before the optimizer's step."""
        if isinstance(self.model, MViT):
            self.model.checkpoint_blocks = self.checkpoint
        self.optimizer.zero_grad(set_to_none=True)
        with routed(self.route):  # backward too: checkpointing computes forward again there
            with amp(clip.device.type, self.dtype):
                logits = self.model(clip)  # (B, num_classes)
            loss = F.cross_entropy(logits.float(), labels)
            loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        if not math.isfinite(loss.item()) or not math.isfinite(norm.item()):
            raise FloatingPointError(f"loss {loss.item()}, gradient norm {norm.item()}")
        self.optimizer.step()

    def state_bytes(self) -> int:
        """Parameters and what the optimizer keeps of them."""
        kept = [value for state in self.optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
        return sum(tensor.nbytes for tensor in (*self.model.parameters(), *kept))


class Bench:
    """What all parts share: options, device, log, and the time that is left."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.device = options, torch.device(options.device)
        self.end = time.monotonic() + 60 * options.minutes
        self.config: MViTConfig = replace(get_config(options.preset), drop_path=0.0, dropout=0.0)
        self.macs = stage_table(self.config).macs
        self.cuda = self.device.type == "cuda"
        self.turns, self.steps = (1, 1) if not self.cuda else (3, 1) if options.quick else (5, 2)
        self.built: dict[str, Contender] = {}
        self.rate: float | None = None

    def left(self) -> float:
        return self.end - time.monotonic()

    def build(self, name: str, twin: bool = False, compiled: str | None = None, **settings) -> Contender:
        """`compiled`: "blocks" as the training does it, "static" with a program for each shape."""
        model = (torchvision_twin if twin else MViT)(self.config).to(self.device).train()
        if compiled:
            dynamic = False if compiled == "static" else None
            for block in model.blocks:  # a dry run traces, but does not wait for a C++ compiler
                block.compile(dynamic=dynamic, backend="inductor" if self.cuda else "eager")
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.05, fused=True if self.cuda else None)
        return Contender(name, model, optimizer, **settings)

    def clips(self, batch: int) -> tuple[Tensor, Tensor]:
        clip = torch.randn(batch, self.config.in_channels, *self.config.size, device=self.device)
        return clip, torch.randint(self.config.num_classes, (batch,), device=self.device)

    def timed(self, job: Callable[[], object], times: int) -> float:
        """Seconds of one of several runs in a row, by the clock of the device."""
        if not self.cuda:
            start = time.perf_counter()
            for _ in range(times):
                job()
            return (time.perf_counter() - start) / times
        torch.cuda.synchronize()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(times):
            job()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / times

    def attempt(self, job: Callable[[], object]) -> tuple[object, str]:
        """The result and "", or None and what went wrong, in a line: no failure ends the whole measurement."""
        try:
            return job(), ""
        except torch.cuda.OutOfMemoryError:
            error = "out of memory"
        except Exception as other:
            error = f"{type(other).__name__}: {(str(other).strip() or '-').splitlines()[0][:150]}".replace("|", "/")
        self.free()
        return None, error

    def free(self) -> None:
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()

    def alternate(self, log: Log, part: str, contenders: list[Contender], batch: int) -> None:
        """Training steps in turns; the first turn, which compiles, is thrown away."""
        (clip, labels), seconds, peaks, alive = self.clips(batch), {}, {}, list(contenders)
        bar = tqdm(total=len(alive) * (self.turns + 1), desc=f"{part}, batch {batch}")
        for turn in range(self.turns + 1):
            for one in list(alive):
                bar.set_postfix_str(f"{one.name}; {self.left():.0f} s left for the run")
                if self.left() < 0 and turn != 1:  # what has warmed up is measured at least once
                    if turn == 0:
                        alive.remove(one)
                        log.put(part, {"name": one.name, "batch": batch, "error": "no time left"})
                    continue
                if self.cuda:
                    torch.cuda.reset_peak_memory_stats()
                    others = torch.cuda.memory_allocated() - one.state_bytes()
                took, error = self.attempt(lambda one=one: self.timed(lambda: one.step(clip, labels), self.steps))
                peak = (torch.cuda.max_memory_allocated() - others) / 2**30 if self.cuda else None
                one.optimizer.zero_grad(set_to_none=True)
                bar.update()
                if error:
                    alive.remove(one)
                    log.put(part, {"name": one.name, "batch": batch, "error": error})
                elif turn:
                    seconds.setdefault(one.name, []).append(took)
                    peaks[one.name] = peak
                    row = step_row(one.name, batch, seconds[one.name], self.macs, self.rate, peaks[one.name])
                    log.put(part, row)
        bar.close()
