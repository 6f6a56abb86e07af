"""The command line, called as a function and once as a program."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mvit_edu
from mvit_edu.cli import main
from mvit_edu.cli.weights import names_of, stride_of
from mvit_edu.data import ClipSpec, VideoItem, VideoList, example_clip
from mvit_edu.data.check_list import CheckResult
from mvit_edu.evaluation import get_protocol

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Tiny weights with 7 classes, as our own state dict."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save(mvit_edu.create_model("mvit_tiny", num_classes=7).state_dict(), path)
    return path


def run(capsys, *args) -> tuple[int, str, str]:
    try:
        code = main([str(arg) for arg in args])
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return code, out, err


def test_models(capsys):
    code, out, err = run(capsys, "models")
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()] == mvit_edu.list_models()
    assert "36.61 M parameters    70.60 G multiply-adds" in out


def test_table(capsys):
    code, out, _ = run(capsys, "table", "mvit_b_16x4")
    assert code == 0 and out == f"{mvit_edu.stage_table(mvit_edu.get_config('mvit_b_16x4'))}\n"
    assert "36,610,672" in out


def test_table_with_changes(capsys):
    changes = ["pool=max", "pool_kernel=s+1", "num_classes=10", "depths=(1, 1)", "kv_stride=None"]
    code, out, _ = run(capsys, "table", "mvit_tiny", *[arg for change in changes for arg in ("--set", change)])
    config = mvit_edu.create_model(
        "mvit_tiny", pool="max", pool_kernel="s+1", num_classes=10, depths=(1, 1), kv_stride=None
    ).config
    assert code == 0 and out == f"{mvit_edu.stage_table(config)}\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["table", "mvit_xxl"], "mvit_b_16x4"),
        (["table", "mvit_tiny", "--set", "pool"], "FIELD=VALUE"),
        (["table", "mvit_tiny", "--set", "color=red"], "no field 'color'; use one of frames"),
        (["table", "mvit_tiny", "--set", "pool=median"], "pool is 'median'; use one of conv, max, avg"),
        (["predict", "x.mp4", "--top", "0"], "'0' is not a whole number above 0"),
        (["convert", "a", "b", "--to", "caffe"], "'caffe'"),
        (["data", "check", "list.csv", "--decode", "some"], "'some'"),
        (["data", "check", "list.csv", "--workers", "0"], "'0' is not a whole number above 0"),
        (["data"], "COMMAND"),
        (["frobnicate"], "frobnicate"),
        ([], "COMMAND"),
    ],
)
def test_usage_errors(capsys, args, message):
    code, out, err = run(capsys, *args)
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["predict", "missing.mp4"], "missing.mp4: there is no such file"),
        (["predict", __file__, "--model", "mvit_tiny"], "cannot be read as a video"),
        (
            ["predict", example_clip(), "--model", "mvit_tiny", "--weights", "missing.pth"],
            "missing.pth does not exist",
        ),
        (["predict", example_clip(), "--model", "mvit_b_16_in1k"], "mvit_b_16_in1k is a model for images"),
        (["convert", "missing.pth", "out.pth", "--to", "native"], "missing.pth does not exist"),
        (["data", "check", "missing.csv"], "missing.csv: there is no such file"),
        (["data", "check", ROOT / "book" / "_static"], "holds no videos"),
        (["data", "check", ROOT / "mvit_edu" / "data", "--report", "no/r.csv"], "no is no folder"),
    ],
)
def test_failures(capsys, args, message):
    code, out, err = run(capsys, *args)
    assert code == 1
    assert message in err and err.startswith("mvit-edu: error: ") and err.count("\n") == 1


def test_predict_without_weights_says_so_first(capsys):
    code, out, _ = run(capsys, "predict", example_clip(), "--model", "mvit_tiny")
    lines = out.splitlines()
    assert code == 0
    assert "untrained" in lines[0] and "mean nothing" in lines[0]
    assert lines[1] == "coffee.mp4: 1 clip of 8 frames of 32x32, from second 1.27 to 2.30 of 3.60"
    assert len(lines) == 2 + 5


def test_predict_with_weights(capsys, weights):
    args = (
        "predict",
        example_clip(),
        "--model",
        "mvit_tiny",
        "--weights",
        weights,
        "--top",
        "3",
        "--stride",
        "2",
    )
    code, out, _ = run(capsys, *args)
    assert code == 0 and "untrained" not in out and "loaded" in out.splitlines()[0]

    model = mvit_edu.create_model("mvit_tiny", num_classes=7).eval()
    mvit_edu.load_weights(model, weights)
    videos = VideoList((VideoItem(str(example_clip())),))
    clip = get_protocol("center").dataset(videos, ClipSpec(8, 2), 32)[0].clip
    with torch.inference_mode():
        scores = model(clip).softmax(-1)[0]
    expected = [f"{scores[i]:7.2%}  class {i}" for i in scores.argsort(descending=True)[:3]]
    assert out.splitlines()[2:] == expected


def test_weights_of_another_model(capsys, weights):
    code, _, err = run(capsys, "predict", example_clip(), "--model", "vit_tiny", "--weights", weights)
    assert code == 1 and "do not fit the model" in err


@pytest.mark.parametrize("dialect", ["slowfast", "pytorchvideo", "torchvision", "native"])
def test_convert_there_and_back(capsys, tmp_path, weights, dialect):
    there, back = tmp_path / "there.pth", tmp_path / "back.pth"
    code, out, _ = run(capsys, "convert", weights, there, "--to", dialect)
    assert code == 0 and f"tensors under the names of {dialect}" in out
    stored = torch.load(there, weights_only=True)
    wrapped = dialect in ("slowfast", "pytorchvideo")
    assert ("model_state" in stored) is wrapped
    names = (stored["model_state"] if wrapped else stored).keys()
    assert ("conv_proj.weight" in names) is (dialect == "torchvision")
    assert run(capsys, "convert", there, back, "--to", "native")[0] == 0
    original, returned = torch.load(weights, weights_only=True), torch.load(back, weights_only=True)
    assert original.keys() == returned.keys()
    assert all(torch.equal(original[name], returned[name]) for name in original)


def test_convert_writes_over_nothing_unless_told(capsys, tmp_path, weights):
    output = tmp_path / "out.pth"
    output.write_text("precious")
    code, _, err = run(capsys, "convert", weights, output, "--to", "native")
    assert code == 1 and "--force" in err and output.read_text() == "precious"
    assert run(capsys, "convert", weights, output, "--to", "native", "--force")[0] == 0
    assert "head.weight" in torch.load(output, weights_only=True)


def test_convert_of_something_else(capsys, tmp_path):
    path = tmp_path / "linear.pth"
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    code, _, err = run(capsys, "convert", path, tmp_path / "out.pth", "--to", "native")
    assert code == 1 and "holds no MViT of the first version" in err


def test_data_check(capsys, tmp_path):
    good, bad = tmp_path / "my videos" / "a b.mp4", tmp_path / "my videos" / "b.mp4"
    good.parent.mkdir()
    shutil.copy(example_clip(), good)
    report = tmp_path / "report.csv"
    code, out, err = run(capsys, "data", "check", good.parent, "--workers", 1)
    assert code == 0 and out.startswith("1 good, 0 bad; 0.00 hours of video.\n") and "1/1" in err

    bad.write_text("no video")
    (tmp_path / "list.csv").write_text("a b.mp4 0\nb.mp4 1\na b.mp4 0\n")
    code, out, _ = run(
        capsys, "data", "check", tmp_path / "list.csv", "--root", good.parent, "--workers", 1, "--report", report
    )
    assert code == 1 and out.startswith(f"{bad}: ") and "\n1 good, 1 bad;" in out
    assert [line.split(",")[1] for line in report.read_text().splitlines()] == ["ok", "True", "False"]


def test_data_check_stopped_by_the_user(capsys, tmp_path, monkeypatch):
    def interrupted(paths, **options):
        assert options == {"decode": "all", "workers": None, "timeout": 600}
        yield CheckResult(paths[1], False, "broken.")
        raise KeyboardInterrupt

    monkeypatch.setattr("mvit_edu.cli.check.check_videos", interrupted)
    (tmp_path / "list.csv").write_text("a.mp4 0\nb.mp4 0\nc.mp4 0\n")
    report = tmp_path / "report.jsonl"
    code, out, _ = run(capsys, "data", "check", tmp_path / "list.csv", "--decode", "all", "--report", report)
    assert code == 130 and "Stopped after 1 of 3: 0 good, 1 bad" in out
    assert len(report.read_text().splitlines()) == 1


def test_data_check_shows_twenty_failures(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "mvit_edu.cli.check.check_videos",
        lambda paths, **options: (CheckResult(path, False, "broken.") for path in paths),
    )
    (tmp_path / "list.csv").write_text("".join(f"{n}.mp4 0\n" for n in range(23)))
    code, out, _ = run(capsys, "data", "check", tmp_path / "list.csv")
    assert code == 1 and out.count("broken.") == 20 and "... and 3 more; --report FILE lists them all\n" in out


def test_class_names_and_strides():
    names = names_of(400)
    assert len(names) == 400 and names[0] == "abseiling" and list(names) == sorted(names, key=str.lower)
    assert names_of(3) == ("class 0", "class 1", "class 2")
    strides = {name: stride_of(name) for name in ("mvit_b_16x4", "mvit_b_24_32x3_slowfast", "vit_b_8x8", "mvit_tiny")}
    assert list(strides.values()) == [4, 3, 8, 4]


def test_as_a_program():
    command = [sys.executable, "-m", "mvit_edu", "table", "mvit_tiny"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == f"{mvit_edu.stage_table(mvit_edu.get_config('mvit_tiny'))}\n" and done.stderr == ""
