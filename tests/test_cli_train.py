"""`mvit-edu train`, `evaluate` and `predict` on files, called as a function and once as a program."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from mvit_edu import create_model
from mvit_edu.cli.options import field_helps
from mvit_edu.cli.train import ABOUT
from mvit_edu.data import MotionShapes, VideoList
from mvit_edu.training import Recipe, TrainConfig, get_recipe, learning_rate, read_state
from tests.test_cli import run

ROOT = Path(__file__).parents[1]
MEDIA = ROOT / "mvit_edu" / "data" / "media"
SMALL = ["--model", "mvit_tiny", "--recipe", "motion_shapes", "--tensorboard", "off"]
for change in ("dim=8", "depths=(1, 1)", "crop=16", "cube_stride=(2, 4, 4)"):
    SMALL += ["--set", change]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """MotionShapes as H.264 files: 48 to train on, 12 to validate on."""
    folder = tmp_path_factory.mktemp("motion data")
    for split, length in (("train", 48), ("val", 12)):
        MotionShapes(length, split, size=16, motions=("horizontal", "vertical")).write(folder)
    return folder


@pytest.fixture(scope="module")
def trained(videos, tmp_path_factory) -> Path:
    from mvit_edu.cli import main

    out = tmp_path_factory.mktemp("runs") / "a run"
    options = ["--batch", 8, "--epochs", 3, "--workers", 1, "--log-every", 2, "--progress", "off"]
    assert main([str(word) for word in ("train", "--data", videos, "--out", out, *SMALL, *options)]) == 0
    return out


def rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_what_a_training_leaves(trained, videos):
    names = {path.name for path in trained.iterdir()}
    assert names == {
        "checkpoints", "classes.txt", "curves.png", "metrics.jsonl", "schedule.png", "train.csv", "val.csv"
    }  # fmt: skip
    assert [row["step"] for row in rows(trained) if row["kind"] == "validation"] == [6, 12, 18]
    settings = read_state(trained / "checkpoints" / "best.pt")["settings"]
    assert settings["classes"] == ("left", "right", "up", "down") and settings["model"]["num_classes"] == 4
    assert settings["spec"] == {"frames": 8, "stride": 1, "sampling": "window", "fps": None}
    assert [item.label for item in VideoList.read(trained / "train.csv")] == [i % 4 for i in range(48)]
    for picture in ("curves.png", "schedule.png"):
        assert min(Image.open(trained / picture).size) > 200


def test_the_plan_is_told(capsys, videos, tmp_path):
    words = ["train", "--data", videos, "--out", tmp_path / "x", *SMALL, "--batch", 8, "--dry-run", "--lr", "0.01"]
    code, out, _ = run(capsys, *words)
    assert code == 0 and not (tmp_path / "x").exists()
    assert "data: 48 videos to train on, 12 to validate on, 4 classes" in out
    assert "clips: 8 frames, one of every 1 of the file (window), 16x16 pixels" in out
    assert "steps: 24 of 8 clips (8 videos x 1 batches x 1 copies), 4 epochs of 6 steps" in out
    recipe = get_recipe("motion_shapes").changed(lr=0.01)
    first, peak = (learning_rate(recipe, epoch, 8) for epoch in (0, 0.25))
    assert f"learning rate: {first:.3g} at first, {peak:.3g} after 0.25 epochs, 0 at the end" in out
    assert [line.split()[1:] for line in out.splitlines() if line.startswith("  lr ")] == [["0.01", "yours"]]
    assert [line.split()[1:] for line in out.splitlines() if line.startswith("  weight_decay ")] == [["0.05", "paper"]]


def test_evaluate_agrees_with_the_log(capsys, trained, videos, tmp_path):
    report = tmp_path / "report.json"
    last = [row for row in rows(trained) if row["kind"] == "validation"]
    best = max(last, key=lambda row: row["top1"])
    for data in (videos, trained / "val.csv", videos / "val.csv"):
        code, out, _ = run(capsys, "evaluate", "--weights", trained, "--data", data, "--report", report)
        assert code == 0
        assert json.loads(report.read_text())["top1"] == best["top1"]
        assert f"top-1 {best['top1']:.2%} ({round(12 * best['top1'])} of 12)" in out
        assert "whole: 1 view x 1 crop of 16x16" in out and "videos: 12, failed to decode: 0" in out
    newest = trained / "checkpoints" / "step_00000018.pt"
    assert run(capsys, "evaluate", "--weights", newest, "--data", videos, "--report", report)[0] == 0
    assert json.loads(report.read_text())["top1"] == last[-1]["top1"]


def test_evaluate_with_other_views_and_orders(capsys, trained, videos):
    words = ["evaluate", "--weights", trained, "--data", videos, "--workers", 0]
    code, out, _ = run(capsys, *words, "--views", 2, "--crops", 3, "--order", "reversed")
    assert code == 0 and "2 views x 3 crops" in out and "order of the frames: reversed" in out
    assert "whole, changed" in out


def test_evaluate_counts_what_cannot_be_read(capsys, trained, videos, tmp_path):
    shutil.copytree(videos / "val", tmp_path / "val")
    first = next((tmp_path / "val" / "left").iterdir())
    first.write_bytes(b"no video")
    code, out, err = run(capsys, "evaluate", "--weights", trained, "--data", tmp_path)
    assert code == 1 and "could not be read, and at most 5.0% may fail" in err and first.name in err
    code, out, _ = run(capsys, "evaluate", "--weights", trained, "--data", tmp_path, "--max-failures", "0.2")
    assert code == 0 and "videos: 11, failed to decode: 1" in out and f"  {first}: " in out


def test_predict_names_and_draws(capsys, trained, videos, tmp_path):
    picture = tmp_path / "strip.png"
    video = next((videos / "val" / "up").iterdir())
    code, out, _ = run(capsys, "predict", video, "--weights", trained, "--picture", picture)
    lines = out.splitlines()
    assert code == 0 and "tensors after step" in lines[0]
    assert lines[1] == f"{video.name}: 1 clip of 8 frames of 16x16, from second 0.00 to 0.88 of 1.00"
    assert {line.split()[1] for line in lines[2:6]} == {"left", "right", "up", "down"}
    assert sum(float(line.split("%")[0]) for line in lines[2:6]) == pytest.approx(100, abs=0.05)
    assert min(Image.open(picture).size) > 200
    code, _, err = run(capsys, "predict", video, "--weights", trained, "--picture", tmp_path / "no" / "p.png")
    assert code == 1 and "is no folder" in err


def test_a_run_becomes_a_checkpoint_of_another_library(capsys, trained, tmp_path):
    assert run(capsys, "convert", trained, tmp_path / "tv.pth", "--to", "torchvision")[0] == 0
    assert "conv_proj.weight" in torch.load(tmp_path / "tv.pth", weights_only=True)


def test_a_folder_of_ones_own_videos_is_enough(capsys, trained, videos, tmp_path):
    """Fine-tuning on other classes: a folder per class, weights of another run, the recipe for own videos."""
    own = tmp_path / "my videos"
    for name in ("left", "down"):
        shutil.copytree(videos / "train" / name, own / f"it goes {name}")
    words = ["train", "--data", own, "--weights", trained, "--batch", 4, "--epochs", 2, "--warmup-epochs", 1]
    code, out, _ = run(capsys, *words, "--out", tmp_path / "run", *SMALL[:2], *SMALL[6:], "--tensorboard", "off")
    assert code == 0
    assert "20 videos to train on, 4 to validate on, 2 classes" in out and "20% of every class, held back" in out
    assert "left the head at its random start" in out and "recipe own_videos" in out
    settings = read_state(tmp_path / "run" / "checkpoints" / "best.pt")["settings"]
    assert settings["classes"] == ("it goes down", "it goes left")
    assert settings["recipe"]["layer_decay"] == 0.75 and settings["recipe"]["repeats"] == 2
    code, out, _ = run(capsys, "evaluate", "--weights", tmp_path / "run", "--data", tmp_path / "run" / "val.csv",
                       "--protocol", "center")  # fmt: skip
    assert code == 0 and "of 4)" in out


def test_public_weights_are_tested_by_the_paper_s_protocol(capsys, videos, tmp_path):
    torch.manual_seed(0)
    torch.save(create_model("mvit_tiny", num_classes=4).state_dict(), tmp_path / "w.pth")
    words = ["evaluate", "--weights", tmp_path / "w.pth", "--data", videos, "--model", "mvit_tiny", "--stride", 1]
    code, out, _ = run(capsys, *words)
    assert code == 0 and "paper: 5 views x 1 crop of 32x32" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train"], "--data"),
        (["train", "--data", "x", "--recipe", "k400"], "invalid choice: 'k400'"),
        (["train", "--data", "x", "--lr", "fast"], "'fast' is not a number"),
        (["train", "--data", "x", "--batch", "2.5"], "'2.5' is not a whole number"),
        (["train", "--data", "x", "--batch", "0"], "batch=0 must be at least 1"),
        (["train", "--data", "x", "--compile", "maybe"], "'maybe' is neither on nor off"),
        (["train", "--data", "x", "--precision", "fp8"], "precision='fp8' is unknown"),
        (["train", "--data", "x", "--drop-path", "1.5"], "drop_path=1.5"),
        (["train", "--data", "x", "--betas", "0.9"], "betas"),
        (["train", "--data", "x", "--optimizer", "lion"], "optimizer='lion' is unknown"),
        (["evaluate", "--data", "x"], "--weights"),
        (["evaluate", "--data", "x", "--weights", "y", "--crops", "2"], "--crops"),
        (["evaluate", "--data", "x", "--weights", "y", "--order", "sorted"], "'sorted'"),
    ],
)
def test_wrong_calls_end_with_two(capsys, words, sentence):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "") and sentence in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "--data", "nowhere", *SMALL], "nowhere: there is no such file or folder"),
        (["train", "--data", MEDIA, *SMALL], "put each video into a folder with the name of its class"),
        (["train", "--data", "DATA", *SMALL, "--batch", 64], "48 videos are fewer than a step takes (batch=64"),
        (["train", "--data", "DATA", *SMALL, "--set", "num_classes=7"], "The data has 4 classes"),
        (["train", "--data", "DATA", *SMALL, "--model", "mvit_b_16_in1k"], "is a model for images"),
        (["train", "--data", "DATA", *SMALL, "--device", "cuda:77"], "'cuda:77' cannot be used here"),
        (["evaluate", "--weights", "nothing.pt", "--data", "DATA"], "nothing.pt does not exist"),
        (["evaluate", "--weights", "DATA", "--data", "DATA"], "holds no checkpoint"),
    ],
)
def test_failures_end_with_one(capsys, videos, tmp_path, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *[videos if word == "DATA" else word for word in words])
    assert code == 1 and sentence in err and err.startswith("mvit-edu: error: ") and err.count("\n") == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_videos_that_cannot_be_read_end_a_training(capsys, videos, tmp_path, workers):
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(4):
                (tmp_path / split / name / f"{number}.mp4").write_bytes(b"no video")
    words = ["train", "--data", tmp_path, "--out", tmp_path / "run", *SMALL, "--batch", 2, "--workers", workers]
    code, _, err = run(capsys, *words)
    last = err.strip().splitlines()[-1]
    assert code == 1 and last.startswith("mvit-edu: error: 10 videos in a row could not be read")
    assert "mvit-edu data check" in last and "Traceback" not in last


def test_tensorboard_shows_what_the_log_has(capsys, videos, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = ["train", "--data", videos, "--out", tmp_path / "run", *SMALL, "--batch", 16, "--epochs", 1]
    assert run(capsys, *words, "--tensorboard", "on", "--log-every", 1)[0] == 0
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    losses = [event.value for event in board.Scalars("train/loss")]
    assert losses == pytest.approx([row["loss"] for row in rows(tmp_path / "run") if row["kind"] == "train"], rel=1e-5)
    assert [event.step for event in board.Scalars("validation/top1")] == [3]


def test_another_training_in_the_same_folder(capsys, trained, videos):
    words = ["train", "--data", videos, "--out", trained, *SMALL, "--batch", 8, "--epochs", 3, "--lr", "0.5"]
    code, _, err = run(capsys, *words)
    assert code == 1 and "a run with lr=0.001, and this one has lr=0.5" in err


def test_every_option_has_help_and_default(capsys):
    code, out, _ = run(capsys, "train", "--help")
    words = " ".join(out.split())
    assert code == 0 and " ".join(ABOUT.split()) in words
    for cls, skip in ((TrainConfig, ("out", "workers")), (Recipe, ("name", "sources"))):
        for name, about in field_helps(cls).items():
            if name not in skip:
                assert f"--{name.replace('_', '-')} " in out
                assert " ".join(about.split())[:40] in words
    assert "minutes between two checkpoints" in words and "(10.0)" in words and "(by the recipe)" in words


def test_ctrl_c_as_a_program(videos, tmp_path):
    """The same command, stopped by Ctrl-C and started again."""
    words = ["train", "--data", videos, "--out", tmp_path / "run", *SMALL, "--batch", 4, "--epochs", 400]
    command = [sys.executable, "-m", "mvit_edu", *map(str, words), "--workers", "1", "--log-every", "1"]
    obey = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)  # noqa: E731
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=obey,
        start_new_session=True,
    )  # fmt: skip
    log = tmp_path / "run" / "metrics.jsonl"
    end = time.monotonic() + 120
    while not (log.exists() and log.stat().st_size) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the workers, too
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Stopped after step" in out and "The same command goes on from there." in out
    assert "Traceback" not in err
    done = read_state(next((tmp_path / "run" / "checkpoints").glob("step*")))["progress"]["step"]
    assert 1 <= done < 4800
