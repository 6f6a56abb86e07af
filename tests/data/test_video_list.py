"""Lists of videos: every way in which public tools write them, and one clear sentence for everything else."""

from __future__ import annotations

import json
import pickle

import pytest

from mvit_edu.data.list_file import read_class_names
from mvit_edu.data.video_list import VideoItem, VideoList, class_names


def write(folder, text, name="list.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def labels(videos):
    return [item.label for item in videos]


def paths(videos, folder):
    return [item.path.removeprefix(f"{folder}/") for item in videos]


@pytest.mark.parametrize(
    "text",
    [
        "a.mp4 0\nb c.mp4 1\nd/e f.mkv 12\n",
        "a.mp4,0\nb c.mp4,1\nd/e f.mkv,12\n",
        "a.mp4\t0\nb c.mp4\t1\nd/e f.mkv\t12\n",
        'a.mp4,0\n"b c.mp4",1\n"d/e f.mkv", 12',
        '"a.mp4" 0\n"b c.mp4" 1\n"d/e f.mkv" 12',
        "\ufeffa.mp4 0\r\nb c.mp4 1\r\n\r\n# a comment\r\nd/e f.mkv 12\r\n",
        "path,label\na.mp4,0\nb c.mp4,1\nd/e f.mkv,12\n",
        "label,video\n0,a.mp4\n1,b c.mp4\n12,d/e f.mkv\n",
        "\n# made by hand\n\nPath Class\na.mp4 0\nb c.mp4 1\nd/e f.mkv 12",
    ],
    ids=["space", "comma", "tab", "quoted comma", "quoted space", "windows", "header", "other order", "late header"],
)
def test_public_forms(tmp_path, text):
    videos = VideoList.read(write(tmp_path, text))
    assert paths(videos, tmp_path) == ["a.mp4", "b c.mp4", "d/e f.mkv"]
    assert labels(videos) == [0, 1, 12] and videos.num_classes == 13 and not videos.classes


@pytest.mark.parametrize(
    ("line", "path", "label"),
    [
        ("my, video.mp4 3", "my, video.mp4", 3),
        ("my, video.mp4,3", "my, video.mp4", 3),
        ("x.mp4 y/b.mp4 c.MP4 3", "x.mp4 y/b.mp4 c.MP4", 3),
        ("no_suffix 3", "no_suffix", 3),
        ("no suffix,3", "no suffix", 3),
        ("a.tsunami.avi 3", "a.tsunami.avi", 3),
        ('"he said ""go"", once.mp4",3', 'he said "go", once.mp4', 3),
        ('"#1.mp4",3', "#1.mp4", 3),
    ],
)
def test_odd_paths(tmp_path, line, path, label):
    videos = VideoList.read(write(tmp_path, line))
    assert paths(videos, tmp_path) == [path] and labels(videos) == [label]


def test_root_and_absolute_paths(tmp_path):
    file = write(tmp_path, "a.mp4 0\n/far/b.mp4 1\n")
    assert [item.path for item in VideoList.read(file, root="/videos")] == ["/videos/a.mp4", "/far/b.mp4"]
    assert VideoList.read(file).items[0].path == str(tmp_path / "a.mp4")


def test_class_names_as_labels(tmp_path):
    file = write(tmp_path, "a.mp4 riding a bike\nb.mp4 archery\nc.mp4 riding a bike\n")
    videos = VideoList.read(file)
    assert videos.classes == ("archery", "riding a bike") and labels(videos) == [1, 0, 1]
    videos = VideoList.read(file, classes=["riding a bike", "zumba", "archery"])
    assert labels(videos) == [0, 2, 0] and videos.num_classes == 3
    names = write(tmp_path, "zumba\n\narchery\nriding a bike\n", "names.txt")
    assert labels(VideoList.read(file, classes=names)) == [2, 1, 2]
    quoted = write(tmp_path, 'a.mp4,"air drumming"\nb.mp4,"archery"', "quoted.csv")
    assert VideoList.read(quoted).classes == ("air drumming", "archery")


def test_classes_beside_the_list(tmp_path):
    write(tmp_path, "zumba\narchery\n", "classes.txt")
    videos = VideoList.read(write(tmp_path, "a.mp4 archery"))
    assert videos.classes == ("zumba", "archery") and labels(videos) == [1]


def test_several_labels(tmp_path):
    videos = VideoList.read(write(tmp_path, "a.mp4 5;3\nb.mp4 7\nc.mp4 3;3\nd.mp4 ;\n"))
    assert labels(videos) == [(3, 5), (7,), (3,), ()] and videos.multi_label and videos.num_classes == 8


def test_no_labels(tmp_path):
    videos = VideoList.read(write(tmp_path, "a.mp4\nmy video.mp4\n"))
    assert labels(videos) == [None, None] and paths(videos, tmp_path) == ["a.mp4", "my video.mp4"]
    assert videos.num_classes == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the list is empty; write one video a line"),
        ("# nothing\n", "the list is empty"),
        ("a.mp4 0\nb.mp4 -1\n", "line 2: the label '-1' is not a whole number from 0"),
        ("a.mp4 0\n\nb.mp4 1.5\n", "line 3: the label '1.5' is not a whole number"),
        ("a.mp4 0\nb.mp4 3,4\n", "line 2: the label '3,4' is not a whole number from 0, nor several such as 3;5;9"),
        (
            "a.mp4 0\nb.mp4 archery\n",
            "line 2: the label 'archery' is a class name, the labels before are",
        ),
        ("a.mp4 archery\nb.mp4 0\n", "line 2: the label '0' is a number, the labels before are each a class name"),
        ("a.mp4 0\nb.mp4\n", "line 2: no label, while line 1 has '0'"),
        ("a.mp4\nb.mp4 1\n", "line 1: no label, while line 2 has '1'"),
        (",0\n", "line 1: no path in ',0'"),
        ("label,path\n0,a.mp4\n0,b,c.mp4", "line 3: 3 columns in '0,b,c.mp4', but the first line names 2"),
        ("path,label,start,end\na.mp4,0,5,5", "line 2: the end (5 s) must come after the start (5 s)"),
        ("path,label,start\na.mp4,0,-5", "line 2: '-5' is not a number of seconds from 0"),
        ("path,label,start\na.mp4,0,soon", "line 2: 'soon' is not a number of seconds"),
        ("path,label,actions\na.mp4,0;,5 6", "line 2: actions are written as 92 11.9 21.2;147 0 12.6, got '5 6'"),
        ("label,youtube_id,time_start,time_end,split\n", "read it with read_kinetics"),
        (b"caf\xe9.mp4 0", "this is not a UTF-8 text"),
    ],
)
def test_errors_name_the_line(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(ValueError) as error:
        VideoList.read(path)
    assert message in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_errors_about_classes(tmp_path):
    with pytest.raises(ValueError, match="list.csv, line 1: label 2, but the classes are numbered 0 to 1"):
        VideoList.read(write(tmp_path, "a.mp4 2"), classes=["a", "b"])
    with pytest.raises(ValueError, match="line 1: 'c' is none of the 2 classes given"):
        VideoList.read(write(tmp_path, "a.mp4 c"), classes=["a", "b"])
    with pytest.raises(ValueError, match="'a' is the name of several classes"):
        VideoList.read(write(tmp_path, "a.mp4 a"), classes=["a", "b", "a"])
    with pytest.raises(ValueError, match="no.csv: there is no such file"):
        VideoList.read(tmp_path / "no.csv")


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_from_folder(tmp_path):
    touch(tmp_path, "walk/b.mp4", "walk/deep/a.MOV", "run/c d.webm", ".hidden/x.mp4", "run/.y.mp4", "run/notes.txt")
    videos = VideoList.from_folder(tmp_path)
    assert videos.classes == ("run", "walk")
    assert paths(videos, tmp_path) == ["run/c d.webm", "walk/b.mp4", "walk/deep/a.MOV"] and labels(videos) == [0, 1, 1]
    assert labels(VideoList.from_folder(tmp_path, classes=["walk", "hop", "run"])) == [2, 0, 0]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "holds no folder; put each video into a folder with the name of its class"),
        (("a.mp4", "run/b.mp4"), "holds the video a.mp4 in no class folder"),
        (("run/a.mp4", "walk/notes.txt"), "walk holds no video; remove the folder"),
        (("train/run/a.mp4", "val/run/b.mp4"), "holds splits, not classes: read"),
    ],
)
def test_folders_that_cannot_be_read(tmp_path, files, message):
    touch(tmp_path, *files)
    with pytest.raises(ValueError, match=message):
        VideoList.from_folder(tmp_path)


def test_a_folder_with_an_unknown_class(tmp_path):
    touch(tmp_path, "run/a.mp4")
    with pytest.raises(ValueError, match="'run' is none of the 1 classes given"):
        VideoList.from_folder(tmp_path, classes=["walk"])
    with pytest.raises(ValueError, match="there is no such folder"):
        VideoList.from_folder(tmp_path / "nowhere")


ROUND_TRIPS = {
    "plain": ((VideoItem("{}/a b.mp4", 1), VideoItem('/far/é,"q".mp4', 0), VideoItem("{}/#x.mp4", 1)), ("no", "yes")),
    "several": ((VideoItem("{}/a.mp4", (1, 2)), VideoItem("{}/b.mp4", (0,)), VideoItem("{}/c.mp4", ())), ()),
    "no label": ((VideoItem("{}/a.mp4"), VideoItem("{}/b.mp4")), ()),
    "parts": ((VideoItem("{}/a, b.mp4", 0, 0.1, 2.7), VideoItem("{}/b.mp4", 1), VideoItem("{}/c", 1, end=1 / 3)), ()),
    "actions": (
        (VideoItem("{}/a.mp4", (1, 2), actions=((1, 0.0, 12.6), (2, 3.5, 4.0))), VideoItem("{}/b.mp4", ())),
        (),
    ),
}


@pytest.mark.parametrize("case", ROUND_TRIPS)
def test_write_and_read(tmp_path, case):
    items, classes = ROUND_TRIPS[case]
    items = tuple(VideoItem(i.path.format(tmp_path), i.label, i.start, i.end, i.actions) for i in items)
    videos = VideoList(items, classes)
    assert VideoList.read(videos.write(tmp_path / "list.csv")) == videos
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*"))


def test_public_code_reads_what_is_written(tmp_path):
    videos = VideoList((VideoItem(str(tmp_path / "my video.mp4"), 3),), tuple("abcd"))
    assert videos.write(tmp_path / "list.csv").read_text() == "my video.mp4,3\n"


def test_write_refuses_what_would_be_read_wrongly(tmp_path):
    VideoList((VideoItem("a.mp4", 0),), ("x", "y")).write(tmp_path / "train.csv")
    with pytest.raises(ValueError, match="holds the classes of another list"):
        VideoList((VideoItem("a.mp4", 0),), ("y", "x")).write(tmp_path / "val.csv")
    with pytest.raises(ValueError, match="b.mp4 has no label, others have one"):
        VideoList((VideoItem("a.mp4", 0), VideoItem("b.mp4"))).write(tmp_path / "some.csv")
    with pytest.raises(ValueError, match="line break"):
        VideoList((VideoItem("a\nb.mp4", 0),)).write(tmp_path / "break.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.txt", "train.csv"]


def many(counts=(10, 5, 2, 1)):
    items = [VideoItem(f"{label}/{i}.mp4", label) for label, count in enumerate(counts) for i in range(count)]
    return VideoList(tuple(items), tuple("abcd"))


def test_split_draws_from_every_class():
    videos = many()
    train, val = videos.split(0.2, seed=3)
    assert [labels(val).count(n) for n in range(4)] == [2, 1, 1, 0] and len(train) + len(val) == len(videos)
    assert set(train.items) | set(val.items) == set(videos.items) and train.classes == val.classes == videos.classes
    assert [item for item in videos if item in set(train.items)] == list(train.items), "the order is kept"
    assert videos.split(0.2, seed=3) == (train, val) and videos.split(0.2, seed=4) != (train, val)
    assert [labels(videos.split(0.99)[0]).count(n) for n in range(4)] == [1, 1, 1, 1]
    with pytest.raises(ValueError, match="share=1.0 must lie between 0 and 1"):
        videos.split(1.0)


def test_select():
    videos = many()
    assert labels(videos.select(["c", 1], per_class=2)) == [1, 1, 2, 2]
    assert videos.select(["d"]).classes == videos.classes and labels(videos.select(per_class=1)) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="no class 'z' in this list of 4"):
        videos.select(["z"])
    several = VideoList((VideoItem("a", (0, 2)), VideoItem("b", (1,))))
    assert [item.path for item in several.select([2])] == ["a"]


def test_missing(tmp_path):
    touch(tmp_path, "a.mp4")
    videos = VideoList((VideoItem(str(tmp_path / "a.mp4"), 0), VideoItem(str(tmp_path / "b.mp4"), 0)))
    assert videos.missing() == (str(tmp_path / "b.mp4"),) and videos.existing().items == videos.items[:1]


def test_read_class_names(tmp_path):
    mapping = write(tmp_path, json.dumps({'"zumba"': 0, '"air drumming"': 1}), "names.json")
    assert read_class_names(mapping) == ("zumba", "air drumming")
    assert read_class_names(write(tmp_path, '["b", "a"]', "list.json")) == ("b", "a")
    with pytest.raises(ValueError, match="must be 0 to 1, each once"):
        read_class_names(write(tmp_path, '{"a": 1, "b": 2}', "gap.json"))
    with pytest.raises(ValueError, match="line 1: this is not JSON"):
        read_class_names(write(tmp_path, "{", "broken.json"))
    with pytest.raises(ValueError, match="holds no class name"):
        read_class_names(write(tmp_path, "\n", "empty.txt"))


def test_public_class_names():
    kinetics = class_names("kinetics400")
    assert len(kinetics) == 400 and list(kinetics) == sorted(kinetics) and kinetics[0] == "abseiling"
    imagenet = class_names("imagenet")
    assert len(imagenet) == 1000 and imagenet[0] == "tench" and list(imagenet) != sorted(imagenet)
    with pytest.raises(ValueError, match="no class names for 'kinetics600'"):
        class_names("kinetics600")


def test_lists_can_be_pickled():
    assert pickle.loads(pickle.dumps(many())) == many()
