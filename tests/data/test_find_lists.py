"""From what a user has to lists of videos, and clips in memory in the form of videos."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from mvit_edu.data import ClipDataset, MotionShapes, VideoList, collate, example_clip
from mvit_edu.data.find_lists import find_list, read_any, training_lists


def class_folders(folder: Path, **counts: int) -> Path:
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            shutil.copy(example_clip(), folder / name / f"{number}.mp4")
    return folder


def test_a_folder_per_class_is_split(tmp_path):
    data = class_folders(tmp_path / "mine", cat=10, dog=5)
    train, held, where = training_lists(data, share=0.2, seed=1)
    assert (len(train), len(held)) == (12, 3) and train.classes == held.classes == ("cat", "dog")
    assert not {item.path for item in train} & {item.path for item in held}
    assert where == f"the class folders in {data}; validation: 20% of every class, held back"
    again, other = training_lists(data, seed=1)[0], training_lists(data, seed=2)[0]
    assert again == train and other != train


@pytest.mark.parametrize("name", ["val", "validation", "valid"])
def test_split_folders(tmp_path, name):
    class_folders(tmp_path / "train", cat=2, dog=2)
    class_folders(tmp_path / name, dog=1)  # one class is not there: its number must be the same all the same
    train, held, where = training_lists(tmp_path)
    assert [item.label for item in held] == [1] and held.classes == ("cat", "dog") == train.classes
    assert where.endswith("validation: the val split")


def test_split_lists(tmp_path):
    class_folders(tmp_path / "videos", cat=3, dog=3)
    lines = [f"videos/{name}/{n}.mp4 {name}\n" for name in ("cat", "dog") for n in range(3)]
    (tmp_path / "train.csv").write_text("".join(lines[:2] + lines[3:5]))
    (tmp_path / "val.csv").write_text(lines[5])
    train, held, _ = training_lists(tmp_path)
    assert [item.label for item in train] == [0, 0, 1, 1] and [item.label for item in held] == [1]
    assert find_list(tmp_path, "test") is None
    own, other, where = training_lists(tmp_path / "train.csv", validation=tmp_path / "val.csv")
    assert own == train and [item.label for item in other] == [1] and "val.csv" in where
    assert len(training_lists(tmp_path / "train.csv", share=0.5)[1]) == 2


def test_reading_any(tmp_path):
    folder = class_folders(tmp_path / "test", cat=1, dog=2)
    assert len(read_any(folder)) == 3
    assert len(read_any(tmp_path, split="test")) == 3
    assert [item.label for item in read_any(folder, ("bird", "cat", "dog"))] == [1, 2, 2]
    with pytest.raises(ValueError, match="no such file or folder"):
        read_any(tmp_path / "nothing")


def test_what_cannot_be_a_data_set(tmp_path):
    with pytest.raises(ValueError, match="no such file or folder; give a list"):
        training_lists(tmp_path / "nothing")
    with pytest.raises(ValueError, match="too few videos to hold some back; give a validation list"):
        training_lists(class_folders(tmp_path / "one", cat=1))


def test_clips_in_memory_are_samples():
    data = ClipDataset(MotionShapes(24))
    assert len(data) == 24 and data.classes[0] == "left" and data.name(3) == "clip 3" and data.repeats == 1
    clip, label = MotionShapes(24)[5]
    for key in (5, (0, 5), (7, 5), (torch.tensor(2), torch.tensor(5))):
        sample = data[key]
        assert torch.equal(sample.clip, clip[None]) and (sample.label, sample.index) == (label, 5)
    batch = collate([data[1, 2], data[1, 3]])
    assert batch.clips.shape == (2, 3, 8, 32, 32) and batch.labels.tolist() == [2, 3] and batch.seen == 2
    assert ClipDataset([(clip, 0)]).classes == ()
    with pytest.raises(IndexError, match="no clip 24"):
        data[0, 24]
    with pytest.raises(ValueError, match="no clips"):
        ClipDataset([])


def test_a_list_that_was_written_is_found_again(tmp_path):
    data = class_folders(tmp_path / "mine", cat=4, dog=4)
    train, held, _ = training_lists(data)
    train.write(tmp_path / "run" / "train.csv")
    held.write(tmp_path / "run" / "val.csv")
    assert training_lists(tmp_path / "run")[:2] == (train, held)
    assert VideoList.read(tmp_path / "run" / "val.csv").classes == ("cat", "dog")
