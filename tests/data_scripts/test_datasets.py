"""Each dataset's script, on small made data laid out like the original download."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_scripts import ava, charades, imagenet, kinetics, something_something
from mvit_edu.data.ava import read_ava
from mvit_edu.data.video_list import VideoList
from tests.data_scripts.videos import make_video, watch

ROOT = Path(kinetics.__file__).parents[1]
FAST = ["--preset", "ultrafast", "--short-side", "48", "--workers", "2"]


def write_csv(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def listed(path: Path) -> dict[str, object]:
    """Labels by path from the list's folder, with every file checked to be there."""
    videos = VideoList.read(path)
    assert not videos.missing()
    return {Path(item.path).relative_to(path.parent).as_posix(): item.label for item in videos}


@pytest.fixture
def kinetics_download(tmp_path):
    source = tmp_path / "k400"
    make_video(source / "train" / "riding a bike" / "-abc_DEF-01_000003_000013.mp4")
    make_video(source / "train" / "archery" / "_bcdef_GH12_000100_000110.mp4")
    (source / "train" / "archery" / "_bcdef_GH12_000100_000110.mp4").write_bytes(b"broken as shipped")
    make_video(source / "replacement_for_corrupted_k400" / "_bcdef_GH12_000100_000110.mp4", first=50)
    make_video(source / "val" / "cdefghij-k3_000000_000001.mp4")  # no class folder
    make_video(source / "whole" / "defghijklm4.webm", count=48, fps=12, codec="libvpx")  # 4 s, not cut yet
    header = "label,youtube_id,time_start,time_end,split"
    write_csv(
        source / "train.csv",
        header,
        "riding a bike,-abc_DEF-01,3,13,train",
        "archery,_bcdef_GH12,100,110,train",
        "zumba,missing0005,0,10,train",
    )
    write_csv(source / "val.csv", header, "zumba,cdefghij-k3,0,1,val", "archery,defghijklm4,1,3,val")
    return source


def test_kinetics(tmp_path, kinetics_download, capsys):
    source, target = kinetics_download, tmp_path / "out"
    arguments = [
        str(source),
        str(target),
        "--train",
        str(source / "train.csv"),
        "--val",
        str(source / "val.csv"),
        *FAST,
    ]
    assert kinetics.main(arguments) == 0
    assert listed(target / "train.csv") == {
        "videos/riding_a_bike/-abc_DEF-01_000003_000013.mp4": 1,
        "videos/archery/_bcdef_GH12_000100_000110.mp4": 0,
    }
    assert listed(target / "val.csv") == {
        "videos/zumba/cdefghij-k3_000000_000001.mp4": 2,
        "videos/archery/defghijklm4_000001_000003.mp4": 0,
    }
    assert VideoList.read(target / "val.csv").classes == ("archery", "riding a bike", "zumba")
    assert watch(target / "videos/archery/_bcdef_GH12_000100_000110.mp4")[0] == list(range(50, 90))
    assert watch(target / "videos/archery/defghijklm4_000001_000003.mp4")[0] == list(range(12, 36))
    output = capsys.readouterr().out
    assert "train: 2 of the 3 videos of the official list are in the download; 1 (33.3%) are missing." in output
    assert "val.csv: 2 of the 2 videos of the official list are ready." in output


def test_kinetics_reports_what_failed_and_leaves_it_out(tmp_path, kinetics_download):
    source, target = kinetics_download, tmp_path / "out"
    (source / "val" / "cdefghij-k3_000000_000001.mp4").write_bytes(b"")
    arguments = [
        str(source),
        str(target),
        "--train",
        str(source / "train.csv"),
        "--val",
        str(source / "val.csv"),
        *FAST,
    ]
    assert kinetics.main(arguments) == 1
    assert list(listed(target / "val.csv").values()) == [0]
    with open(target / "failed.csv", newline="") as file:
        [row] = csv.DictReader(file)
    assert row["path"].endswith("cdefghij-k3_000000_000001.mp4") and "0 bytes" in row["cause"]


def test_kinetics_takes_the_order_of_a_class_file(tmp_path, kinetics_download):
    source, target = kinetics_download, tmp_path / "out"
    order = write_csv(tmp_path / "classes.txt", "zumba", "archery", "riding a bike")
    arguments = [str(source), str(target), "--val", str(source / "val.csv"), "--classes", str(order), *FAST]
    assert kinetics.main(arguments) == 0
    assert list(listed(target / "val.csv").values()) == [0, 1]


def test_kinetics_dry_run_limit_and_lists_only(tmp_path, kinetics_download, capsys):
    source, target = kinetics_download, tmp_path / "out"
    arguments = [str(source), str(target), "--train", str(source / "train.csv"), *FAST]
    assert kinetics.main([*arguments, "--dry-run"]) == 0
    assert "Would make 2 files" in capsys.readouterr().out and not target.exists()
    assert kinetics.main([*arguments, "--limit", "1"]) == 0
    assert len(listed(target / "train.csv")) == 1
    (target / "train.csv").unlink()
    assert kinetics.main([*arguments, "--lists-only"]) == 0
    assert len(listed(target / "train.csv")) == 1
    assert kinetics.main([str(source), str(target)]) == 1
    assert "--train train.csv" in capsys.readouterr().err
    other = write_csv(tmp_path / "other.csv", "label,youtube_id,time_start,time_end,split", "a,nowhere,0,1,train")
    assert kinetics.main([str(source), str(target), "--train", str(other)]) == 1
    assert "none of the videos" in capsys.readouterr().err


def test_something_something(tmp_path):
    source, target = tmp_path / "ssv2", tmp_path / "out"
    for number in (78687, 7, 121):
        make_video(source / "20bn-something-something-v2" / f"{number}.webm", codec="libvpx", fps=12)
    labels = {"Holding something": "1", "Putting something on a surface": "0"}
    entries = [
        {"id": "78687", "label": "holding a cup", "template": "Holding [something]", "placeholders": ["a cup"]},
        {"id": "7", "label": "putting", "template": "Putting [something] on a surface", "placeholders": ["x"]},
        {"id": "999", "label": "gone", "template": "Holding [something]", "placeholders": ["y"]},
    ]
    (source / "labels").mkdir()
    prefix = source / "labels" / "something-something-v2-"
    Path(f"{prefix}labels.json").write_text(json.dumps(labels))
    Path(f"{prefix}train.json").write_text(json.dumps(entries))
    last = {"id": "121", "label": "holding", "template": "Holding [something]", "placeholders": ["z"]}
    Path(f"{prefix}validation.json").write_text(json.dumps([last]))
    assert something_something.main([str(source), str(target), *FAST]) == 0
    assert listed(target / "train.csv") == {"videos/87/78687.mp4": 1, "videos/07/7.mp4": 0}
    assert listed(target / "val.csv") == {"videos/21/121.mp4": 1}
    numbers, times, _ = watch(target / "videos/07/7.mp4")
    assert numbers == list(range(40)) and times[12] == pytest.approx(1.0, abs=1e-3)  # 12 fps, as it came


def test_charades(tmp_path):
    source, target = tmp_path / "charades", tmp_path / "out"
    for name in ("46GP8", "N11GT", "00T1E"):
        make_video(source / "Charades_v1_480" / f"{name}.mp4", count=24, fps=24, size=(64, 96))
    folder = source / "Charades"
    folder.mkdir()
    write_csv(
        folder / "Charades_v1_classes.txt", "c000 Holding some clothes", "c001 Putting clothes somewhere", "c002 X"
    )
    header = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"
    row = '{},HR43,Kitchen,6,7,Yes,"A person, cooking.",food;stove,"A person cooks; then eats",{},24.83'
    write_csv(
        folder / "Charades_v1_train.csv",
        header,
        row.format("46GP8", "c002 0.50 0.90;c000 0.00 0.40"),
        row.format("N11GT", ""),
    )
    write_csv(folder / "Charades_v1_test.csv", header, row.format("00T1E", "c001 0.10 0.20"))
    assert charades.main([str(source), str(target), *FAST]) == 0
    assert listed(target / "train.csv") == {"videos/46GP8.mp4": (0, 2), "videos/N11GT.mp4": ()}
    assert listed(target / "val.csv") == {"videos/00T1E.mp4": (1,)}
    first = VideoList.read(target / "train.csv").items[0]
    assert sorted(first.actions) == [(0, 0.0, 0.4), (2, 0.5, 0.9)]
    numbers, times, size = watch(target / "videos/46GP8.mp4")
    assert len(numbers) == 24 and size == (48, 72) and np.allclose(np.diff(times), 1 / 24, atol=1e-3)


def test_ava(tmp_path, capsys):
    source, target = tmp_path / "ava", tmp_path / "out"
    make_video(source / "trainval" / "-5KQ66BBWC4.mkv", count=100, audio=True)
    make_video(source / "trainval" / "1j20qq1JyX4.webm", count=96, fps=24, codec="libvpx")
    make_video(source / "trainval" / "tooshort-00.mp4", count=10)
    (source / "ava_v2.2").mkdir()
    write_csv(source / "ava_v2.2" / "ava_train_v2.2.csv", "-5KQ66BBWC4,0003,0.1,0.2,0.5,0.9,12,0")
    write_csv(source / "ava_v2.2" / "ava_action_list_v2.2.pbtxt", 'label {\n  name: "stand"\n  label_id: 12\n}')
    arguments = [str(source), str(target), *FAST, "--from", "1", "--to", "3"]
    assert ava.main(arguments) == 1
    assert (
        "tooshort-00" in (target / "failed.csv").read_text()
        and "before the cut begins" in (target / "failed.csv").read_text()
    )
    assert watch(target / "videos/-5KQ66BBWC4.mp4")[0] == list(range(25, 75))
    assert watch(target / "videos/1j20qq1JyX4.mp4")[0] == list(range(24, 72))
    with open(target / "videos.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["path"], row["begin"]) for row in rows] == [
        ("-5KQ66BBWC4", "videos/-5KQ66BBWC4.mp4", "1"),
        ("1j20qq1JyX4", "videos/1j20qq1JyX4.mp4", "1"),
    ]
    folder = target / "annotations"
    official = (source / "ava_v2.2" / "ava_train_v2.2.csv").read_bytes()
    assert (folder / "ava_train_v2.2.csv").read_bytes() == official
    actions = folder / "ava_action_list_v2.2.pbtxt"
    [item] = read_ava(folder / "ava_train_v2.2.csv", actions, target / "videos", begin=float(rows[0]["begin"])).items
    assert item.path == str(target / "videos" / "-5KQ66BBWC4.mp4") and item.second == 2.0
    assert ava.BEGIN == 895 and ava.END == 1805


def picture(path: Path, size: tuple[int, int], mode: str = "RGB", color: object = (200, 30, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(path, format="JPEG")
    return path


@pytest.fixture
def imagenet_download(tmp_path):
    from scipy.io import savemat

    source = tmp_path / "imagenet"
    picture(source / "train" / "n01440764" / "n01440764_1.JPEG", (500, 375))
    picture(source / "train" / "n01443537" / "n01443537_7.JPEG", (300, 600), "CMYK", (1, 200, 200, 30))
    picture(source / "val" / "ILSVRC2012_val_00000001.JPEG", (100, 80), "L", 30)
    picture(source / "val" / "ILSVRC2012_val_00000002.JPEG", (500, 375))
    data = source / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("1\n2\n")
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]  # the kit's order is not the sorted one
    synsets = [(1, "n01443537", "goldfish"), (2, "n01440764", "tench"), (3, "n00001740", "entity")]
    savemat(data / "meta.mat", {"synsets": np.array(synsets, dtype=fields).reshape(-1, 1)})
    return source


def test_imagenet_lists(tmp_path, imagenet_download):
    source, target = imagenet_download, tmp_path / "out"
    assert imagenet.main([str(source), str(target)]) == 0
    train, val = (VideoList.read(target / f"{split}.csv") for split in ("train", "val"))
    assert [(Path(item.path).name, item.label) for item in train] == [("n01440764_1.JPEG", 0), ("n01443537_7.JPEG", 1)]
    assert [item.label for item in val] == [1, 0] and not val.missing() and not train.missing()
    assert train.classes == val.classes == ("n01440764", "n01443537")
    assert not list(target.rglob("*.JPEG"))


def test_imagenet_resized(tmp_path, imagenet_download):
    source, target = imagenet_download, tmp_path / "out"
    names = write_csv(tmp_path / "LOC_synset_mapping.txt", "n01440764 tench", "n01443537 goldfish")
    solution = write_csv(
        tmp_path / "LOC_val_solution.csv",
        "ImageId,PredictionString",
        "ILSVRC2012_val_00000002,n01440764 1 2 3 4",
        "ILSVRC2012_val_00000001,n01443537 1 2 3 4",
    )
    arguments = [str(source), str(target), "--resize", "--synsets", str(names), "--solution", str(solution)]
    assert imagenet.main(arguments) == 0
    assert listed(target / "train.csv") == {
        "train/n01440764/n01440764_1.JPEG": 0,
        "train/n01443537/n01443537_7.JPEG": 1,
    }
    assert list(listed(target / "val.csv").values()) == [1, 0]
    assert VideoList.read(target / "train.csv").classes == ("tench", "goldfish")
    sizes = {}
    for path in target.rglob("*.JPEG"):
        with Image.open(path) as image:
            sizes[path.name] = (image.size, image.mode)
    assert sizes == {
        "n01440764_1.JPEG": ((341, 256), "RGB"),
        "n01443537_7.JPEG": ((256, 512), "RGB"),
        "ILSVRC2012_val_00000001.JPEG": ((100, 80), "RGB"),  # not enlarged
        "ILSVRC2012_val_00000002.JPEG": ((341, 256), "RGB"),
    }
    (target / "val" / "ILSVRC2012_val_00000001.JPEG").unlink()
    whole = source / "val" / "ILSVRC2012_val_00000001.JPEG"
    whole.write_bytes(whole.read_bytes()[:300])
    assert imagenet.main(arguments) == 1
    assert len(listed(target / "val.csv")) == 1 and "ILSVRC2012_val_00000001" in (target / "failed.csv").read_text()


def test_imagenet_that_is_not_unpacked(tmp_path, capsys):
    for split in ("train", "val"):
        (tmp_path / "in" / split).mkdir(parents=True)
    (tmp_path / "in" / "train" / "n01440764.tar").touch()
    assert imagenet.main([str(tmp_path / "in"), str(tmp_path / "out")]) == 1
    assert "unpack" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["kinetics", "something_something", "charades", "ava", "imagenet"])
def test_help_says_what_to_download(name, capsys):
    module = sys.modules[f"data_scripts.{name}"]
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    output = capsys.readouterr().out
    assert ended.value.code == 0
    for words in ("What to download", "What you get in TARGET", "--limit N", "--dry-run"):
        assert words in output


def test_a_script_runs_by_its_path(tmp_path):
    command = [sys.executable, str(ROOT / "data_scripts" / "ava.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "895" in done.stdout, done.stderr
