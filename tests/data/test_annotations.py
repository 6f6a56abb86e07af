"""The official annotation files, in miniature and laid out like the originals."""

from __future__ import annotations

import json

import pytest

from mvit_edu.data.annotations import read_charades, read_imagenet, read_kinetics, read_ssv2
from mvit_edu.data.ava import read_ava
from mvit_edu.data.video_list import VideoList

KINETICS = """label,youtube_id,time_start,time_end,split
testifying,---QUuC4vJs,84,94,validate
"washing feet",--GkrdYZ9Tc,0,10,validate
air drumming,--nQbRBEz2s,104,114,validate
air drumming,gone_video1,1,11,validate
"""
TEMPLATES = {"Putting something on a surface": "1", "Opening something": "0", "Showing something (part of it)": "2"}
SSV2 = [
    {"id": "78687", "label": "opening a jar", "template": "Opening [something]", "placeholders": ["a jar"]},
    {"id": "42326", "label": "x", "template": "Putting [something] on a surface", "placeholders": ["x"]},
    {"id": "9", "label": "y", "template": "Showing [something] ([part of it])", "placeholders": ["y", "y"]},
]
CHARADES = """id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length
46GP8,HR43,Kitchen,6,7,Yes,"A person cooks, sits.",food,"Says ""hello"".",c002 11.90 21.20;c001 0.00 12.60,24.83
N11GT,0KZ7,Stairs,6,7,Yes,"Two
lines",towel,"x",c001 0.00 4.50;c001 9 12,18.33
EMPTY,0KZ7,Stairs,6,7,No,s,towel,d,,20.0
"""
CHARADES_CLASSES = "c000 Holding some clothes\nc001 Putting clothes somewhere\nc002 Opening a door\n"
AVA = """-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,80,1
-5KQ66BBWC4,0902,0.077,0.151,0.283,0.811,9,1
-5KQ66BBWC4,0902,0.154,0.167,0.426,0.914,12,0
-5KQ66BBWC4,0903,0.100,0.200,0.300,0.400,3,1
_-Z6wFjXtGQ,1798,0.5,0.5,1.0,1.0,12,4
"""
ACTIONS = "\n".join(
    f"label {{\n  name: \"action-{n} (e.g., 'it')\"\n  label_id: {n}\n  label_type: PERSON_MOVEMENT\n}}"
    for n in range(1, 81)
)
SCORED = 'item {\n  name: "action-12"\n  id: 12\n}\nitem { name: "action-80" id: 80 }\n'


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def touch(folder, *names):
    for name in names:
        write(folder, name, "")
    return folder


def names(videos, folder):
    return [item.path.removeprefix(f"{folder}/") for item in videos]


def test_kinetics(tmp_path):
    annotation = write(tmp_path, "val.csv", KINETICS)
    official = read_kinetics(annotation)
    assert official.classes == ("air drumming", "testifying", "washing feet")
    assert [item.label for item in official] == [1, 2, 0, 0]
    assert [item.path for item in official][:2] == ["---QUuC4vJs_000084_000094.mp4", "--GkrdYZ9Tc_000000_000010.mp4"]

    folder = touch(
        tmp_path / "videos",
        "testifying/---QUuC4vJs_000084_000094.mp4",
        "replacement/--GkrdYZ9Tc_000000_000010.mp4",
        "val/--GkrdYZ9Tc_000000_000010.mp4",
        "--nQbRBEz2s.webm",
        "unrelated.mp4",
    )
    found = read_kinetics(annotation, folder)
    assert names(found, folder) == [
        "testifying/---QUuC4vJs_000084_000094.mp4",
        "replacement/--GkrdYZ9Tc_000000_000010.mp4",
        "--nQbRBEz2s.webm",
        "gone_video1_000001_000011.mp4",
    ]
    assert found.missing() == (f"{folder}/gone_video1_000001_000011.mp4",) and len(found.existing()) == 3


def test_kinetics_classes_and_the_test_list(tmp_path):
    annotation = write(tmp_path, "val.csv", KINETICS)
    classes = ["washing feet", "yoga", "air drumming", "testifying"]
    assert [item.label for item in read_kinetics(annotation, classes=classes)] == [3, 0, 2, 2]
    with pytest.raises(ValueError, match="val.csv, line 2: 'testifying' is none of the 1 classes given"):
        read_kinetics(annotation, classes=["yoga"])
    test = write(tmp_path, "test.csv", "youtube_id,time_start,time_end,split\nabc,5,15,test\n")
    assert [item.label for item in read_kinetics(test)] == [None] and read_kinetics(test).classes == ()
    with pytest.raises(ValueError, match="no column 'youtube_id'"):
        read_kinetics(write(tmp_path, "other.csv", "path,label\n"))
    with pytest.raises(ValueError, match="line 2: fewer columns"):
        read_kinetics(write(tmp_path, "cut.csv", "label,youtube_id,time_start,time_end\nyoga,abc\n"))
    with pytest.raises(ValueError, match="must be seconds"):
        read_kinetics(write(tmp_path, "odd.csv", "label,youtube_id,time_start,time_end\nyoga,abc,a,b\n"))


def test_ssv2(tmp_path):
    labels = write(tmp_path, "labels.json", json.dumps(TEMPLATES))
    entries = write(tmp_path, "train.json", json.dumps(SSV2))
    folder = touch(tmp_path / "videos", "78687.webm", "42/42326.mp4")
    videos = read_ssv2(entries, labels, folder)
    assert [item.label for item in videos] == [0, 1, 2]
    assert videos.classes[1] == "Putting something on a surface"
    assert names(videos, folder) == ["78687.webm", "42/42326.mp4", "9.webm"] and len(videos.missing()) == 1
    test = read_ssv2(write(tmp_path, "test.json", '[{"id": "1420"}]'), labels)
    assert test.items[0].label is None and test.items[0].path == "1420.webm" and len(test.classes) == 3


def test_ssv2_errors(tmp_path):
    labels = write(tmp_path, "labels.json", json.dumps(TEMPLATES))
    odd = write(tmp_path, "odd.json", '[{"id": "7", "template": "Eating [something]"}]')
    with pytest.raises(ValueError, match=r"the template 'Eating \[something\]' of video 7 is not in"):
        read_ssv2(odd, labels)
    with pytest.raises(ValueError, match="must be 0 to 0, each once"):
        read_ssv2(odd, write(tmp_path, "gap.json", '{"Eating something": "3"}'))


def test_charades(tmp_path):
    annotation = write(tmp_path, "Charades_v1_train.csv", CHARADES)
    classes = write(tmp_path, "Charades_v1_classes.txt", CHARADES_CLASSES)
    videos = read_charades(annotation, classes)
    assert videos.classes == ("Holding some clothes", "Putting clothes somewhere", "Opening a door")
    assert [(item.path, item.label) for item in videos] == [
        ("46GP8.mp4", (1, 2)), ("N11GT.mp4", (1,)), ("EMPTY.mp4", ())
    ]  # fmt: skip
    assert videos.items[0].actions == ((2, 11.9, 21.2), (1, 0.0, 12.6))
    assert (
        videos.multi_label and VideoList.read(videos.write(tmp_path / "lists" / "train.csv")).classes == videos.classes
    )
    folder = touch(tmp_path / "Charades_v1_480", "46GP8.mp4")
    assert read_charades(annotation, classes, folder).missing() == (f"{folder}/N11GT.mp4", f"{folder}/EMPTY.mp4")


@pytest.mark.parametrize("actions", ["c001 5", "c999 1 2", "c001 a b"])
def test_charades_errors(tmp_path, actions):
    classes = write(tmp_path, "classes.txt", CHARADES_CLASSES)
    with pytest.raises(ValueError, match="line 2: want actions such as c092 11.90 21.20, got"):
        read_charades(write(tmp_path, "a.csv", f"id,actions\nX,{actions}\n"), classes)
    with pytest.raises(ValueError, match="want a class on every line"):
        read_charades(write(tmp_path, "a.csv", "id,actions\n"), write(tmp_path, "b.txt", "Holding some clothes\n"))


def test_ava(tmp_path):
    annotation = write(tmp_path, "ava_train_v2.2.csv", AVA)
    actions = write(tmp_path, "actions.pbtxt", ACTIONS)
    ava = read_ava(annotation, actions, touch(tmp_path / "movies", "-5KQ66BBWC4.mkv", "_-Z6wFjXtGQ.mp4"), begin=895)
    assert [(key.video, key.timestamp, key.second) for key in ava.items] == [
        ("-5KQ66BBWC4", 902, 7.0), ("-5KQ66BBWC4", 903, 8.0), ("_-Z6wFjXtGQ", 1798, 903.0)
    ]  # fmt: skip
    assert ava.items[0].path.endswith("movies/-5KQ66BBWC4.mkv")
    first, second = ava.items[0].people
    assert first.box == (0.077, 0.151, 0.283, 0.811) and first.labels == (8, 79) and first.person == 1
    assert second.labels == (11,) and second.person == 0 and second.score == 1.0
    assert len(ava.classes) == 80 and ava.classes[11] == "action-12 (e.g., 'it')" and ava.scored == tuple(range(80))


def test_ava_scored_and_excluded(tmp_path):
    annotation = write(tmp_path, "ava_val_v2.2.csv", AVA)
    scored = write(tmp_path, "challenge.pbtxt", SCORED)
    excluded = write(tmp_path, "excluded.csv", "-5KQ66BBWC4,0903\n_-Z6wFjXtGQ,1798\n")
    ava = read_ava(annotation, write(tmp_path, "all.pbtxt", ACTIONS), scored=scored, excluded=excluded)
    assert ava.scored == (11, 79) and len(ava.classes) == 80 and [key.timestamp for key in ava.items] == [902]
    only = read_ava(annotation, scored)
    assert only.scored == (11, 79) and only.classes[11] == "action-12" and only.classes[0] == "action 1"


def test_ava_detected_boxes(tmp_path):
    detected = "m,0902,-0.01,0.2,0.3,1.01,,0.9963\nm,0902,0.5,0.2,0.8,0.9,-1,0.8\nm,0902,0.5,0.2,0.8,0.9,12,0.8\n"
    ava = read_ava(write(tmp_path, "boxes.csv", detected), write(tmp_path, "actions.pbtxt", ACTIONS))
    people = ava.items[0].people
    assert [(box.labels, box.person, box.score) for box in people] == [((), None, 0.9963), ((11,), None, 0.8)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("m,902,0.1,0.2,0.3", "line 2: 5 columns, want at least 7"),
        ("m,902,0.1,0.2,0.3,0.4,81,1", "line 2: action 81 is not between 1 and 80"),
        ("m,902,0.1,0.2,0.3,0.4,0,1", "line 2: action 0 is not between 1 and 80"),
        ("m,902,30,20,300,400,5,1", "line 2: want left,top,right,bottom from 0 to 1, got 30,20,300,400"),
        ("m,902,0.9,0.2,0.3,0.4,5,1", "line 2: want left,top,right,bottom"),
        ("m,later,0.1,0.2,0.3,0.4,5,1", "line 2: 'later' is not a second of the movie"),
        ("m,902,x,0.2,0.3,0.4,5,1", "line 2: want video,second,x1,y1,x2,y2,action,person"),
    ],
)
def test_ava_errors(tmp_path, line, message):
    actions = write(tmp_path, "actions.pbtxt", ACTIONS)
    with pytest.raises(ValueError, match=message):
        read_ava(write(tmp_path, "ava.csv", f"m,0901,0.1,0.2,0.3,0.4,5,1\n{line}\n"), actions)


def test_ava_actions_errors(tmp_path):
    annotation = write(tmp_path, "ava.csv", AVA)
    with pytest.raises(ValueError, match="lists no action"):
        read_ava(annotation, write(tmp_path, "empty.pbtxt", "{}"))
    with pytest.raises(ValueError, match="an id from 1 to 80 in each block"):
        read_ava(annotation, write(tmp_path, "odd.pbtxt", 'label { name: "sit" }'))


def test_imagenet(tmp_path):
    train = touch(tmp_path / "train", "n01443537/n01443537_2.JPEG", "n01440764/n01440764_10.JPEG")
    videos = read_imagenet(train)
    assert [item.label for item in videos] == [0, 1] and videos.classes == ("n01440764", "n01443537")
    mapping = "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\nn01484850 great white shark\n"
    synsets = write(tmp_path, "LOC_synset_mapping.txt", mapping)
    videos = read_imagenet(train, synsets=synsets)
    assert videos.classes == ("tench, Tinca tinca", "goldfish, Carassius auratus", "great white shark")

    val = touch(tmp_path / "val", *(f"ILSVRC2012_val_0000000{n}.JPEG" for n in (3, 1, 2)))
    solution = "ImageId,PredictionString\n" + "".join(
        f"ILSVRC2012_val_0000000{n},{wnid} 85 1 499 272 {wnid} 1 2 3 4 \n"
        for n, wnid in ((2, "n01484850"), (1, "n01443537"), (3, "n01440764"))
    )
    loc = write(tmp_path, "LOC_val_solution.csv", solution)
    ordered = write(tmp_path, "synset_labels.txt", "n01443537\nn01484850\nn01440764\n")
    for file in (loc, ordered):
        videos = read_imagenet(val, file, synsets)
        assert names(videos, val)[0] == "ILSVRC2012_val_00000001.JPEG" and [item.label for item in videos] == [1, 2, 0]


def test_imagenet_errors(tmp_path):
    val = touch(tmp_path / "val", "a.JPEG", "b.JPEG")
    with pytest.raises(ValueError, match="want images in folders such as n01440764"):
        read_imagenet(val)
    with pytest.raises(ValueError, match="development kit's own order"):
        read_imagenet(val, write(tmp_path, "ground_truth.txt", "490\n361\n"))
    with pytest.raises(ValueError, match="has 1 lines, but there are 2 images"):
        read_imagenet(val, write(tmp_path, "short.txt", "n01440764\n"))
    with pytest.raises(ValueError, match="has no line for the image b"):
        read_imagenet(val, write(tmp_path, "some.csv", "ImageId,PredictionString\na,n01440764 1 2 3 4\n"))
    with pytest.raises(ValueError, match="n01440764 is not among the 1 classes"):
        read_imagenet(touch(tmp_path / "t", "n01440764/a.JPEG"), synsets=write(tmp_path, "s.txt", "n01443537 goldfish"))
