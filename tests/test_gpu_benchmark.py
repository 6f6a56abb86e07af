"""The parts of the GPU benchmark that need no GPU: its arithmetic, its log, its tables, the routes of the pooling."""

from __future__ import annotations

import argparse
import json

import pytest
import torch

from benchmarks.gpu.log import Log, fastest_pooling, goals, grouped, largest_batch, step_row, utilization
from benchmarks.gpu.loop import Bench, Contender
from benchmarks.gpu.routes import ROUTES, routed
from mvit_edu.model import pooling
from mvit_edu.model.pooling import depthwise_conv3d

ABOUT = {
    "dry_run": False,
    "preset": "mvit_b_16x4",
    "device": "Made GPU",
    "driver": "1.2",
    "torch": "2.15",
    "cuda": "13",
    "python": "3.11",
    "commit": "abc",
    "date": "2026-11-21",
    "command": "python -m benchmarks.gpu",
}


def test_utilization_counts_six_operations_a_multiply_add():
    macs = 70_599_000_000  # MViT-B 16x4; 100 clips/s are 42.4 TFLOP/s
    assert utilization(100, macs, 800e12) == pytest.approx(0.05295, rel=1e-3)


@pytest.mark.parametrize(("room", "wanted", "tried"), [(100, 64, [16, 32, 64, 128]), (16, 16, [16, 32]), (0, 0, None)])
def test_the_largest_batch_doubles_until_memory_is_out(room, wanted, tried):
    asked = []

    def fits(batch: int) -> bool:
        asked.append(batch)
        return batch <= room

    assert largest_batch(fits, 16, 256) == wanted
    assert asked == (tried or [16, 8, 4, 2, 1])


def test_the_largest_batch_has_a_limit_and_goes_below_the_first():
    assert largest_batch(lambda batch: True, 16, 64) == 64
    assert largest_batch(lambda batch: batch <= 5, 16, 64) == 4


def bench() -> Bench:
    return Bench(argparse.Namespace(device="cpu", preset="mvit_tiny", quick=True, minutes=1.0))


def test_a_contender_without_memory_is_a_row_and_the_others_go_on(tmp_path, monkeypatch):
    made, log = bench(), Log(tmp_path, ABOUT)
    made.rate = 1e12
    contenders = [made.build(name, dtype=torch.float32) for name in ("mvit_edu, eager", "torchvision, eager", "broken")]
    step = Contender.step

    def limited(self: Contender, *batch) -> None:
        if self.name == "torchvision, eager":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB.")
        if self.name == "broken":
            raise RuntimeError("a | b\nmore")
        step(self, *batch)

    monkeypatch.setattr(Contender, "step", limited)
    made.alternate(log, "steps", contenders, 1)
    rows = {row["name"]: row for row in json.loads((tmp_path / "results_gpu.json").read_text())["steps"]}
    assert rows["torchvision, eager"]["error"] == "out of memory"
    assert rows["broken"]["error"] == "RuntimeError: a / b"
    assert rows["mvit_edu, eager"]["utilization"] > 0
    text = (tmp_path / "RESULTS_gpu.md").read_text()
    assert "| torchvision, eager | 1 | | out of memory |" in text
    assert "| clips/s over torchvision, eager | >= 2 |  |  | not measured |" in text


def test_no_turn_begins_without_time(tmp_path):
    made, log = bench(), Log(tmp_path, ABOUT)
    made.end = 0.0
    made.alternate(log, "steps", [made.build("mvit_edu, eager")], 1)
    assert log.rows("steps")[0]["error"] == "no time left"


def test_goals_are_of_our_best_rows():
    macs, rate = 70_599_000_000, 800e12
    rows = [
        step_row("torchvision, eager", 64, [0.64, 0.66, 0.64], macs, rate, 80.0),  # 100 clips/s
        step_row("mvit_edu, eager", 64, [0.30, 0.33, 0.32], macs, rate, 40.0),
        step_row("mvit_edu, compiled", 64, [0.16, 0.16, 0.16], macs, rate, 30.0),  # 400 clips/s
        step_row("mvit_edu, compiled", 128, [0.31, 0.31, 0.31], macs, rate, 60.0),  # no reference with this batch
        {"name": "mvit_edu, broken", "batch": 64, "error": "out of memory"},
    ]
    (_, _, over, who), (_, _, share, what) = goals({"steps": rows})
    assert (over, who) == (pytest.approx(4.0), "mvit_edu, compiled, batch 64")
    assert (share, what) == (pytest.approx(128 / 0.31 * 6 * macs / rate), "mvit_edu, compiled, batch 128")


def made_log(folder) -> Log:
    log = Log(folder, ABOUT)
    log.put("rate", {"name": "8192", "flop_per_second": 790e12})
    log.put("steps", step_row("torchvision, eager", 64, [0.64], 70_599_000_000, 790e12, 80.0))
    log.put("steps", step_row("mvit_edu, eager", 64, [0.16], 70_599_000_000, 790e12, 40.0))
    row = {"batch": 32, "apart": {}, "errors": {}}
    log.put("poolings", row | {"name": "a", "count": 2, "milliseconds": {"contiguous": 1.0, "frames": 3.0}})
    log.put("poolings", row | {"name": "b", "count": 1, "milliseconds": {"contiguous": 9.0, "frames": 3.0}})
    missing = {"milliseconds": {"contiguous": 1.0}, "errors": {"frames": "out of memory"}}
    for name, seconds in (("eager, contiguous", 0.2), ("eager, frames", 0.1)):
        log.put("routes", step_row(name, 64, [seconds], 1, None, None))
    log.put("profile", {"name": "mvit_edu, eager", "batch": 64, "groups": {"copies": 3.0}, "kernels": [["copy", 3.0]]})
    log.put("processes", {"name": "1 processes", "batch": 32, "processes": 1, "clips_per_second": 100.0} | NO_BUS)
    log.put("processes", {"name": "2 processes", "batch": 32, "processes": 2, "clips_per_second": 190.0} | BUS)
    log.put("skipped", {"name": "compiled_routes", "error": "no time left"})
    assert fastest_pooling(log.parts) == {"poolings alone": "frames", "whole step, eager": "frames"}
    log.put("poolings", row | {"name": "c", "count": 1} | missing)
    return log


NO_BUS, BUS = {"bus_gb_per_second": None}, {"bus_gb_per_second": 250.0}


def test_the_table_shows_every_row(tmp_path):
    log = made_log(tmp_path)
    text = (tmp_path / "RESULTS_gpu.md").read_text()
    for line in (
        "| mvit_edu, eager | 64 | 1 | 400.0 | 4.00 | 21.4% | 40.0 |",
        "| clips/s over torchvision, eager | >= 2 | 4.00 | mvit_edu, eager, batch 64 | yes |",
        "| share of the measured matrix rate | >= 0.35 | 0.21 | mvit_edu, eager, batch 64 | no |",
        "| b | 1 | 32 | 9.000 | 3.000 |",
        "| c | 1 | 32 | 1.000 | out of memory |",
        "| all of a step | | | 12.00 |  |",
        "| eager, frames | 64 | 1 | 640.0 | 2.00 |  |  |",
        "| copies | 100.0% | 3.00 |",
        "| 2 | 32 | 190.0 | 1.90 | 250.0 |",
        "Not measured: compiled_routes (no time left).",
    ):
        assert line in text
    assert log.parts["fastest_pooling"]["poolings alone"] == "contiguous"  # frames did not do all of them
    assert "Dry run" not in text


def test_a_later_run_adds_to_the_log_and_replaces_rows(tmp_path):
    made_log(tmp_path)
    log = Log(tmp_path, ABOUT | {"commit": "def"})
    log.put("steps", step_row("mvit_edu, eager", 64, [0.32], 70_599_000_000, 790e12, 40.0))
    assert [(row["name"], row["run"]) for row in log.rows("steps")] == [
        ("torchvision, eager", 0),
        ("mvit_edu, eager", 1),
    ]
    assert "| mvit_edu, eager | 64 | 1 | 200.0 | 2.00 |" in log.text()
    assert "Not measured" in log.text()
    log.forget_skipped("compiled_routes")
    assert "Not measured" not in log.text()


def test_a_dry_run_is_marked(tmp_path):
    log = Log(tmp_path, ABOUT | {"dry_run": True})
    assert "**Dry run on a CPU" in log.text()


@pytest.mark.parametrize(
    ("kernel", "group"),
    [
        (
            "void at::native::(anonymous namespace)::conv_depthwise3d_cuda_kernel<c10::BFloat16, float, 3>",
            "convolutions",
        ),
        ("nvjet_tst_128x256_64x4_2x1_v_bz_coopA_TNT", "matrix products"),
        ("pytorch_flash::flash_bwd_dq_dk_dv_loop_seqk_parallel_kernel<Flash_bwd_kernel_traits>", "attention"),
        ("cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16", "attention"),
        ("void at::native::(anonymous namespace)::GammaBetaBackwardCUDAKernelTemplate<float>", "LayerNorm"),
        ("triton_red_fused_native_layer_norm_backward_3", "LayerNorm"),
        ("triton_poi_fused__to_copy_gelu_5", "other kernels of the compiler"),
        (
            "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<FusedAdamMathFunctor>",
            "optimizer and clipping",
        ),
        ("void at::native::elementwise_kernel<128, 4, direct_copy_kernel_cuda>", "copies"),
        ("void at::native::vectorized_elementwise_kernel<4, GeluCUDAKernelImpl>", "all other"),
    ],
)
def test_kernels_are_grouped_by_name(kernel, group):
    assert grouped({kernel: 2.0}) == {group: 2.0}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2), (2, 2, 2)])
@pytest.mark.parametrize("steps", [1, 4])
def test_every_route_is_the_same_convolution(route, stride, steps):
    torch.manual_seed(0)
    tokens = torch.randn(2, 1 + steps * 35, 6)  # the volume is a part of the sequence, as in TokenPool
    weight = torch.randn(6, 1, 3, 3, 3)

    def results(function) -> list[torch.Tensor]:
        x, w = tokens.clone().requires_grad_(), weight.clone().requires_grad_()
        out = function(x[:, 1:].unflatten(1, (steps, 5, 7)), w, stride, (1, 1, 1))
        return [out, *torch.autograd.grad(out.square().sum(), (x, w))]

    for made, wanted in zip(results(ROUTES[route]), results(depthwise_conv3d), strict=True):
        torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-4)


def test_the_model_goes_the_route_and_comes_back(monkeypatch):
    calls = []
    monkeypatch.setitem(ROUTES, "frames", lambda *args: calls.append(1) or depthwise_conv3d(*args))
    one = bench().build("mvit_edu, eager", route="frames", checkpoint=6, dtype=torch.float32)
    clip = torch.randn(1, 3, 8, 32, 32)
    one.step(clip, torch.zeros(1, dtype=torch.long))
    poolings = sum(1 for module in one.model.modules() if getattr(module, "conv", None) is not None)
    assert len(calls) == 2 * poolings  # all blocks are computed twice
    assert pooling.depthwise_conv3d is depthwise_conv3d
    with pytest.raises(RuntimeError), routed("frames"):
        raise RuntimeError
    assert pooling.depthwise_conv3d is depthwise_conv3d
