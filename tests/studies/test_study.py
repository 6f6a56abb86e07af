"""Studies: every one runs in small, goes on where it was stopped, and says only what its log holds."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mvit_edu.cli import main
from mvit_edu.studies.ablations import STUDIES, get_study
from mvit_edu.studies.costs import saved_bytes, side_by_side
from mvit_edu.studies.findings import (
    accuracies,
    against_first,
    bounds,
    by_motion,
    cost_lines,
    current,
    little_room,
    order_costs,
    sweep,
)
from mvit_edu.studies.runner import plans, run_one, run_study
from mvit_edu.studies.statistics import STUDENT, difference, interval, verdict
from mvit_edu.studies.study import SCALES, Study, Variant, plan
from mvit_edu.studies.study_log import StudyLog, locked
from mvit_edu.visualize.studies import draw_sweep, draw_variants


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_runs_in_small(name, tmp_path):
    study, log = get_study(name), StudyLog(tmp_path / "log.json")
    assert run_study(study, "smoke", [0], log, tmp_path / "work", device="cpu", say=lambda text: None) == len(
        study.variants
    )
    runs = log.runs()
    assert {run["variant"] for run in runs} == {variant.name for variant in study.variants}
    assert any(run["trained"] for run in runs)
    for run in runs:
        assert set(run.get("before", {}) | run.get("after", {})) == set(study.measures)
        if not run["trained"]:
            assert "top1" not in run and "after" not in run
            continue
        assert set(run["top1"]) == set(study.orders) and run["videos"] == SCALES["smoke"].test
        assert all(0 <= run["top1"][order] <= run["pair"][order] <= 1 for order in study.orders)
        assert len(run["curve"]) and run["macs"] > 0 and run["measured"]["versions"]["torch"]
    assert not list((tmp_path / "work").glob("*/*"))  # what is in the log needs no checkpoint


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", STUDIES)
def test_every_run_of_every_scale_is_possible_and_differs(name, scale):
    found = plans(get_study(name), scale, range(3))
    for one in found:
        shapes = one.shapes("train")
        assert not one.trained or (shapes.frames, shapes.size, shapes.size) == one.model.size
    assert len({one.fingerprint for one in found}) == len(found) == 3 * len(get_study(name).variants)


def test_what_is_there_is_not_made_again(tmp_path):
    study, log = get_study("skips"), StudyLog(tmp_path / "log.json")
    quiet = {"work": tmp_path / "work", "device": "cpu", "say": lambda text: None}
    assert run_study(study, "smoke", [0], log, shard=(1, 2), **quiet) == 3
    assert run_study(study, "smoke", [0], log, shard=(2, 2), **quiet) == 2
    before = log.path.read_text()
    assert run_study(study, "smoke", [0], log, **quiet) == 0 and log.path.read_text() == before
    changed = dataclasses.replace(study, variants=(Variant("linear", model={"skip": "linear", "dim": 16}),))
    assert run_study(changed, "smoke", [0], log, **quiet) == 1  # other settings under an old name: made anew
    assert len(log.runs()) == 5 and json.loads(before) != json.loads(log.path.read_text())


def test_a_run_is_a_function_of_its_settings(tmp_path):
    one = plans(get_study("skips"), "smoke", [3])[0]
    first, again = (run_one(one, tmp_path / name, "cpu") for name in "ab")
    assert first["confusion"] == again["confusion"] and first["curve"] == again["curve"]
    other = run_one(dataclasses.replace(one, seed=4), tmp_path / "c", "cpu")
    assert other["curve"] != first["curve"]


def test_variants_of_a_seed_see_the_same_clips():
    """Also where the bias differs: the same shapes move in the same way."""
    low, high = (one for one in plans(get_study("frame_order"), "smoke", [1]) if one.model.depths == (2,)
                 and one.data["appearance_bias"] in (0.0, 1.0))  # fmt: skip
    assert low.shapes("train").scene(5).x == high.shapes("train").scene(5).x
    assert low.shapes("test").label(5) == high.shapes("test").label(5)


def test_a_run_that_was_stopped_goes_on(tmp_path, monkeypatch):
    study, whole, log = get_study("skips"), StudyLog(tmp_path / "whole.json"), StudyLog(tmp_path / "log.json")
    study = dataclasses.replace(study, variants=study.variants[:1])
    quiet = {"work": tmp_path / "work", "device": "cpu", "say": lambda text: None}
    assert run_study(study, "smoke", [0], whole, **quiet) == 1
    with monkeypatch.context() as patch:
        patch.setattr("mvit_edu.studies.runner.evaluate", lambda *args, **more: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_study(study, "smoke", [0], log, **quiet)
    assert not log.runs() and list((tmp_path / "work").glob("*/*/checkpoints/*"))
    steps = []
    monkeypatch.setattr("mvit_edu.training.loop.train_step", lambda *args: steps.append(1))
    assert run_study(study, "smoke", [0], log, **quiet) == 1 and not steps
    (one,), (other,) = whole.runs(), log.runs()
    assert other["resumed"] and "resumed" not in one and one["confusion"] == other["confusion"]
    assert not list((tmp_path / "work").glob("*/*"))


def test_a_run_of_another_process_is_left_to_it(tmp_path):
    study, log, said = get_study("skips"), StudyLog(tmp_path / "log.json"), []
    folder = tmp_path / "skips" / plans(study, "smoke", [0])[1].fingerprint
    folder.mkdir(parents=True)
    with locked(folder / "lock"):
        assert run_study(study, "smoke", [0], log, tmp_path, device="cpu", say=said.append) == 4
    assert said[2] == "2/5 linear, seed 0: left to another process"
    assert run_study(study, "smoke", [0], log, tmp_path, device="cpu", say=said.append) == 1


def test_every_shard_gets_every_kind_of_model():
    study = get_study("frame_order")  # MViT and ViT take turns
    for index in (1, 2):
        found = plans(study, "cpu", range(2), (index, 2))
        assert len(found) == 12 and sum(one.variant.startswith("mvit") for one in found) == 6


def run(variant: str, seed: int, **top1: float) -> dict:
    return {"variant": variant, "seed": seed, "top1": {name.replace("_", " "): value for name, value in top1.items()}}


def test_intervals_by_hand():
    found = interval([1.0, 2.0, 3.0])
    assert (found.mean, found.n) == (2.0, 3) and found.half == pytest.approx(4.303 / 3**0.5, rel=1e-6)
    assert str(found) == "2.0 ± 2.5" and 0 in found and 4.6 not in found
    assert interval([5.0]).half == float("inf") and str(interval([5.0])) == "5.0 (one seed)"
    with pytest.raises(ValueError, match="no values"):
        interval([])


def test_student_s_t_holds_95_percent():
    """Each quantile by numerical integration of the density, to the printed digits."""
    import math

    for degrees in (1, 2, 5, 17, 30):
        t, steps = STUDENT[degrees - 1], 20_000
        scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(degrees * math.pi)
        h = t / steps
        at = [scale * (1 + (h * i) ** 2 / degrees) ** (-(degrees + 1) / 2) for i in range(steps + 1)]
        assert 2 * h * (sum(at) - (at[0] + at[-1]) / 2) == pytest.approx(0.95, abs=2e-4)


def test_differences_are_paired_by_seed():
    found = difference({0: 50.0, 1: 70.0, 2: 90.0, 7: 0.0}, {0: 40.0, 1: 60.0, 2: 79.0})
    assert found.mean == pytest.approx(31 / 3) and found.n == 3 and verdict(found) == "higher"
    assert verdict(difference({0: 1.0, 1: 2.0, 2: 3.0}, {0: 2.0, 1: 1.0, 2: 3.0})) == "no difference seen at this scale"
    assert verdict(difference({0: 1.0, 1: 2.0}, {0: 2.0, 1: 3.0})) == "two seeds tell no difference"
    assert verdict(difference({0: 1.0}, {0: 2.0})) == "one seed tells no difference"
    with pytest.raises(ValueError, match="no seed in common"):
        difference({0: 1.0}, {1: 1.0})


def test_what_cannot_be_compared_is_said():
    study = Study("s", "?", ("1",), (Variant("a"), Variant("b")))
    assert against_first(study, [run("b", 0, in_order=0.5)]) == [
        "a has no run yet, so there is nothing to compare the others with."
    ]
    two = [run("a", 0, in_order=0.5), run("b", 1, in_order=0.5)]
    assert against_first(study, two) == ["b has no seed in common with a yet."]
    two = [run("a", 0, in_order=0.5), run("b", 0, in_order=0.6)]
    assert against_first(study, two) == ["b against a: 10.0 points, one seed tells no difference."]


def test_a_test_without_room_is_told():
    study = Study("s", "?", ("1",), (Variant("a"), Variant("b")))
    easy, guess, graded = [[50, 0], [1, 49]], [[20, 30], [25, 25]], [[40, 10], [10, 40]]

    def log(*blocks: list[list[int]]) -> list[dict]:
        """Each motion has a block of the confusion; nobody takes one motion for another."""
        size = 2 * len(blocks)
        rows = [[0] * 2 * k + row + [0] * (size - 2 * k - 2) for k, block in enumerate(blocks) for row in block]
        more = {"confusion": {"in order": rows}, "data": {"motions": ("turn", "grow", "appear")[: len(blocks)]}}
        return [run(name, 0, in_order=0.5) | more for name in "ab"]

    found = by_motion(log(easy, guess, graded), "a")
    assert {motion: right.mean for motion, right in found.items()} == {"turn": 99.0, "grow": 45.0, "appear": 80.0}
    assert little_room(study, log(easy, guess, graded)) is None and little_room(study, log(graded)) is None
    told = "a tells turn 99 % and does little better than guess grow 45 %: little room for a difference."
    assert little_room(study, log(easy, guess)) == told and against_first(study, log(easy, guess))[-1] == told
    assert little_room(study, log(easy)) == "a tells turn 99 %: little room for a difference."
    assert little_room(study, [run("a", 0, in_order=0.5)]) is None  # nothing is known of it


def test_runs_with_other_settings_are_left_out(tmp_path, capsys):
    study, path = get_study("skips"), tmp_path / "skips.json"
    log, place = StudyLog(path), ["--scale", "cpu", "--log", str(path)]
    for one in plans(study, "cpu", range(3)):
        row = {"study": "skips", "scale": "cpu", "fingerprint": one.fingerprint}
        log.add(run(one.variant, one.seed, in_order=0.5 + one.seed / 10) | row)
    assert len(current(study, log.runs())) == 15
    old = log.runs()[-1] | {"fingerprint": "0", "top1": {"in order": 1.0}}
    log.add(old)
    kept = current(study, log.runs())
    assert len(kept) == 14 and old not in kept
    assert main(["study", "plot", "skips", *place, "--picture", str(tmp_path / "p.png")]) == 0
    assert "1 of 15 runs have other settings than the study has today" in capsys.readouterr().out
    assert main(["study", "plot", "positions", *place]) == 1
    assert "is the log of the study 'skips'; give --log another file" in capsys.readouterr().err


def test_processes_share_a_log(tmp_path):
    """Two processes, sixty runs each: none is lost."""
    code = (
        "import sys; from mvit_edu.studies.study_log import StudyLog; log = StudyLog(sys.argv[1])\n"
        "for seed in range(60): log.add(dict(scale='cpu', variant=sys.argv[2], seed=seed, fingerprint='0'))"
    )
    path = tmp_path / "log.json"
    started = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "ab"]
    assert [process.wait() for process in started] == [0] * 2
    assert len(StudyLog(path).runs()) == 120


def test_sentences_follow_the_log():
    study = Study("s", "?", ("1",), (Variant("a"), Variant("b"), Variant("c")))
    runs = [run("a", seed, in_order=0.5 + seed / 100) for seed in range(3)]
    runs += [run("b", seed, in_order=0.6 + seed / 100) for seed in range(3)]
    runs += [run("c", seed, in_order=0.5 + (seed % 2) / 10) for seed in range(3)]
    assert against_first(study, runs) == [
        "b against a: 10.0 ± 0.0 points, higher.",
        "c against a: 2.3 ± 14.6 points, no difference seen at this scale.",
    ]
    assert list(accuracies(study, runs)) == ["a", "b", "c"]
    costs = Study("s", "?", ("1",), (Variant("a"),), orders=("in order", "shuffled"))
    found = [run("a", seed, in_order=0.9, shuffled=0.4 + seed / 100) for seed in range(3)]
    assert order_costs(costs, found) == ["a, frames shuffled: costs 49.0 ± 2.5 points."]
    found = [run("a", seed, in_order=0.5, shuffled=0.45 + seed / 20) for seed in range(3)]
    assert order_costs(costs, found) == ["a, frames shuffled: no difference seen at this scale (0.0 ± 12.4 points)."]


def test_the_bound_and_the_curves_of_frame_order():
    study = get_study("frame_order")
    assert bounds(study) == {
        "best without order": {0.0: 50.0, 0.25: 62.5, 0.5: 75.0, 0.75: 87.5, 0.9: 95.0, 1.0: 100.0}
    }
    assert bounds(get_study("skips")) == {}
    runs = [run(one.name, seed, in_order=0.5, shuffled=0.4) for one in study.variants for seed in (0, 1)]
    found = sweep(study, runs)
    assert list(found) == ["mvit, in order", "vit, in order", "mvit, shuffled", "vit, shuffled"]
    assert all(list(curve) == [0.0, 0.25, 0.5, 0.75, 0.9, 1.0] for curve in found.values())
    assert draw_sweep(found, axis="bias", bounds=bounds(study)).axes[0].get_xlabel() == "bias"


def test_pictures_have_every_seed():
    study = Study("s", "?", ("1",), (Variant("a"), Variant("b")))
    runs = [run(name, seed, in_order=0.5 + seed / 10) for name in "ab" for seed in range(3)]
    ax = draw_variants(accuracies(study, runs), chance=25.0).axes[0]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [sorted(line.get_xdata()) for line in dots] == [[50.0, 60.0, 70.0]] * 2
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_variants({})


def test_costs_are_measured_side_by_side(tmp_path):
    study = Study("s", "?", (), (Variant("a"), Variant("b", model={"dim": 16})))
    found = side_by_side(study, "smoke", torch.device("cpu"), turns=3, say=lambda text: None)
    a, b = found["variants"]["a"], found["variants"]["b"]
    assert a["train"]["ratios"] == [1.0, 1.0, 1.0] and a["test"]["ratio"] == 1.0 and len(b["train"]["ratios"]) == 3
    assert b["macs"] > a["macs"] and b["params"] > a["params"] and 1.5 * a["saved"] < b["saved"] < 2.5 * a["saved"]
    log = StudyLog(tmp_path / "log.json")
    log.add_costs(found)
    log.add_costs({**found, "turns": 9})
    assert [one["turns"] for one in log.costs("smoke")] == [9] and not log.costs("cpu") and not log.runs()
    assert cost_lines(found)[0].endswith("train step 1.00 times, test step 1.00 times.")
    with pytest.raises(ValueError, match="no variants of full size"):
        side_by_side(get_study("stages"), "full", torch.device("cpu"))
    with pytest.raises(ValueError, match="no scale 'huge'; choose one of smoke, cpu, gpu, full"):
        side_by_side(study, "huge", torch.device("cpu"))


def test_kept_memory_is_what_autograd_keeps():
    """Of two linear layers: the input of each, so without a ReLU twice the same size."""
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    assert saved_bytes(model, torch.randn(5, 8)) == 2 * 5 * 8 * 4


def test_wrong_studies_are_told():
    with pytest.raises(ValueError, match="two variants named a"):
        Study("s", "?", (), (Variant("a"), Variant("a")))
    with pytest.raises(ValueError, match="unknown orders of the frames: sideways"):
        Study("s", "?", (), (Variant("a"),), orders=("sideways",))
    with pytest.raises(ValueError, match="is none of mvit, fine, vit, and no preset"):
        Variant("a", "resnet")
    with pytest.raises(ValueError, match="no variant 'x'; it has normalized"):
        get_study("skips").variant("x")
    with pytest.raises(ValueError, match="no study 'x'; choose one of frame_order"):
        get_study("x")
    with pytest.raises(ValueError, match="no scale 'huge'"):
        plans(get_study("skips"), "huge", [0])
    with pytest.raises(ValueError, match="no shard 3/2; they are 1/2 to 2/2"):
        plans(get_study("skips"), "smoke", [0], (3, 2))
    with pytest.raises(TypeError, match="dimm"):
        plan(get_study("skips"), Variant("a", model={"dimm": 3}), SCALES["smoke"], 0)


def test_a_file_that_is_no_log_is_told(tmp_path):
    path = tmp_path / "log.json"
    path.write_text('{"runs": [')
    with pytest.raises(ValueError, match="no log of a study"):
        StudyLog(path).runs()


def test_the_commands(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "list"]) == 0
    assert capsys.readouterr().out.count("no log") == len(STUDIES)
    log = StudyLog(Path("book") / "results" / "skips.json")
    log.path.parent.mkdir(parents=True)
    for one, seconds in zip(plans(get_study("skips"), "cpu", range(3))[:3], (20, 30, 90), strict=True):
        row = {"study": "skips", "scale": "cpu", "fingerprint": one.fingerprint, "seconds": seconds}
        log.add(run(one.variant, one.seed, in_order=0.5) | row)
    assert main(["study", "list"]) == 0
    assert re.search(r"^skips .* 8 min  What", capsys.readouterr().out, re.M)  # 5 variants, 3 seeds, 30 s
    place = ["--scale", "smoke", "--log", str(tmp_path / "log.json")]
    words = ["study", "run", "positions", *place, "--seeds", "2", "--work", str(tmp_path), "--device", "cpu"]
    assert main(words) == 0
    assert "8/8 separate, seed 1: in order" in capsys.readouterr().out
    picture = tmp_path / "p.png"
    assert main(["study", "plot", "positions", *place, "--picture", str(picture)]) == 0
    assert picture.stat().st_size > 5000 and "space against separate: " in capsys.readouterr().out
    assert main(["study", "plot", "skips", "--scale", "gpu", "--log", str(Path(tmp_path) / "no.json")]) == 1
    assert "no run of scale gpu; make them: mvit-edu study run skips --scale gpu" in capsys.readouterr().err
