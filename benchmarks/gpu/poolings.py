"""The routes of the depthwise pooling side by side: pooling by pooling, and in the whole training step."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.gpu.log import Log
from benchmarks.gpu.loop import Bench
from benchmarks.gpu.routes import ROUTES, routed
from mvit_edu.model.pooling import Size3, TokenPool


def measure_poolings(bench: Bench, log: Log, batch: int) -> None:
    """Every depthwise pooling of the model by each route, forward and backward, with its LayerNorm, in turns."""
    counts: dict[tuple, int] = {}
    for block in bench.config.blocks:
        for kernel, stride, count in ((block.q_kernel, block.q_stride, 1), (block.kv_kernel, block.kv_stride, 2)):
            if kernel:
                key = (block.thw_in, block.dim, block.heads, kernel, stride)
                counts[key] = counts.get(key, 0) + count
    for (thw, dim, heads, kernel, stride), count in tqdm(counts.items(), desc="poolings"):
        cls_token = bench.config.cls_token
        pool = TokenPool(dim // heads, kernel, stride, cls_token=cls_token).to(bench.device)
        shape = (batch, cls_token + math.prod(thw), dim)
        x = torch.randn(shape, device=bench.device, dtype=torch.bfloat16, requires_grad=True)
        wanted = [x, *pool.parameters()]

        def once(pool: TokenPool = pool, x: Tensor = x, thw: Size3 = thw, wanted: list = wanted) -> list[Tensor]:
            with torch.autocast(bench.device.type, torch.bfloat16):
                out, _ = pool(x, thw)  # (B, [1 +] T'*H'*W', dim)
            return [out.detach(), *torch.autograd.grad(out.float().square().mean(), wanted)]

        times: dict[str, list[float]] = {}
        errors, results = {}, {}
        for turn in range(bench.turns + 1):
            for route in [name for name in ROUTES if name not in errors]:
                with routed(route):
                    if turn == 0:
                        results[route], error = bench.attempt(once)
                    else:
                        seconds, error = bench.attempt(lambda: bench.timed(once, 5 if bench.cuda else 1))  # noqa: B023
                if error:
                    errors[route] = error
                elif turn:
                    times.setdefault(route, []).append(1e3 * seconds)
        first = next((results[name] for name in ROUTES if results.get(name)), [])
        apart = {
            route: max(((a - b).norm() / b.norm()).item() for a, b in zip(made, first, strict=True))
            for route, made in results.items()
            if made
        }
        row = {"name": f"{thw} x {dim}, kernel {kernel}, stride {stride}", "batch": batch, "count": count}
        row |= {"milliseconds": {route: statistics.median(one) for route, one in times.items() if route not in errors}}
        log.put("poolings", row | {"apart": apart, "errors": errors})
        del results, first
        bench.free()


def measure_routes(bench: Bench, log: Log, batch: int, compiled: bool) -> None:
    """The whole step with each route; one model goes all ways, so that only the route differs."""
    mode = "compiled" if compiled else "eager"
    one = bench.build(mode, compiled="blocks" if compiled else None)
    bench.alternate(log, "routes", [replace(one, name=f"{mode}, {name}", route=name) for name in ROUTES], batch)
