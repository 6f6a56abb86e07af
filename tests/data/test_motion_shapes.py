"""MotionShapes: pairs that differ in order only, clips that depend on nothing but their key, the bound, the files."""

from __future__ import annotations

import dataclasses
import multiprocessing
import pickle
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mvit_edu.data import MEAN, STD, read_frames, video_info
from mvit_edu.data.motion_drawing import BACKGROUNDS, LOOKS
from mvit_edu.data.motion_shapes import MOTIONS, SPLITS, MotionShapes, bag_of_frames_bound

SETTINGS = [
    {},
    {"background": "textured"},
    {"background": "photo", "contrast": "mixed"},
    {"size": (24, 40), "frames": 5, "noise": 0.1},
    {"size": 48, "frames": 11, "fps": 30, "speed": 1.0, "noise": 0},
]
# Clip 123 of the validation split of seed 7. If this changes, every published number on MotionShapes does.
GOLDEN = ("vertical", True, 0, 0.6800307332704757, 0.9065844866971151, 0.22545273525175752) + (
    2.382485127685312,
    6.098367561403066,
    0.9576371526389301,
)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2))


# --- pairs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_partner_is_the_clip_backwards_bit_by_bit(settings):
    data = MotionShapes(24, **settings)
    for index in range(24):
        for label in range(0, 12, 2):
            first, second = data.frames_of(index, label), data.frames_of(index, label + 1)
            assert np.array_equal(first, second[::-1])
            assert not np.array_equal(first, second)


@pytest.mark.parametrize("rho", [0.0, 0.5, 1.0])
def test_given_the_look_the_bags_of_frames_of_a_pair_are_the_same(rho):
    data = MotionShapes(240, appearance_bias=rho)
    same_look = 0
    for index in range(240):
        label = data.label(index)
        mine, other = data.scene(index), data.scene(index, data.partner(label))
        assert dataclasses.replace(mine, backwards=not mine.backwards, look=other.look) == other
        same_look += mine.look == other.look
    share = same_look / 240
    assert abs(share - (1 - rho)) < 0.1  # u < rho takes the own look in both, and own looks differ


def test_labels_are_balanced_and_draws_do_not_follow_the_index():
    data = MotionShapes(6000)
    assert [data.label(index) for index in range(24)] == [*range(12), *range(12)]
    scenes = [data.scene(index) for index in range(6000)]
    for name in ("x", "y", "radius", "angle", "direction", "rate"):
        values = np.array([getattr(scene, name) for scene in scenes])
        low, high = {"radius": (0.19, 0.25), "rate": (0.8, 1.2), "x": (0, 1), "y": (0, 1)}.get(name, (0, 2 * np.pi))
        uniform = (values - low) / (high - low)
        assert uniform.min() >= 0 and uniform.max() < 1
        for label in range(12):  # mean of 500 uniform draws: 0.5 with a deviation of 0.013
            assert abs(uniform[label::12].mean() - 0.5) < 5 * 0.013, (name, label)
        assert abs(np.corrcoef(uniform[:-1], uniform[1:])[0, 1]) < 5 / np.sqrt(6000)


def center(frames: np.ndarray) -> np.ndarray:
    """Where the shape is in each frame of a clip without border: mean angles of its bright pixels, (T, 2) in (y, x)."""
    weight = (frames.max(-1).astype(float) > 110).astype(float)  # (T, H, W)
    height, width = weight.shape[1:]
    turns = [np.exp(2j * np.pi * (np.arange(n) + 0.5) / n) for n in (height, width)]
    y, x = (weight * turns[0][:, None]).sum((1, 2)), (weight * turns[1]).sum((1, 2))
    return np.stack([np.angle(y) * height, np.angle(x) * width], 1) / (2 * np.pi)


@pytest.mark.parametrize(("name", "axis", "sign"), [("left", 1, -1), ("right", 1, 1), ("up", 0, -1), ("down", 0, 1)])
def test_shapes_travel_where_their_class_says(name, axis, sign):
    data = MotionShapes(12, size=64, noise=0)
    for index in range(12):
        track = center(data.frames_of(index, data.classes.index(name)))
        steps = (np.diff(track, axis=0) + 32) % 64 - 32
        rate = data.scene(index).rate
        assert steps[:, axis].mean() == pytest.approx(sign * rate * 0.5 / 8 * 64, abs=0.3)
        assert abs(steps[:, 1 - axis]).max() < 1


def test_clockwise_turns_clockwise():
    data = MotionShapes(60, size=64, noise=0, motions="turn")
    bar = next(index for index in range(60) if LOOKS[data.scene(index).look].shape == "bar")
    frames = data.frames_of(bar, 0)
    angles = []
    for frame, (cy, cx) in zip(frames, center(frames), strict=True):
        y, x = np.nonzero(frame.max(-1) > 110)
        y, x = (y + 0.5 - cy + 32) % 64 - 32, (x + 0.5 - cx + 32) % 64 - 32
        angles.append(0.5 * np.arctan2(2 * (x * y).mean(), (x * x).mean() - (y * y).mean()))  # y points down
    steps = (np.diff(angles) + np.pi / 2) % np.pi - np.pi / 2
    assert (steps > 0.1).all()


def test_what_grows_grows_and_what_appears_appears():
    data = MotionShapes(12, size=64, noise=0)
    for index in range(12):
        area = (data.frames_of(index, data.classes.index("grow")).max(-1) > 110).sum((1, 2))
        assert (np.diff(area) >= 0).all() and area[-1] > 2 * area[0]
        light = data.frames_of(index, data.classes.index("appear")).astype(int).sum((1, 2, 3))
        assert (np.diff(light) > 0).all()


def test_two_shapes_approach():
    data = MotionShapes(12, size=64, noise=0, motions="distance")
    for index in range(12):
        tracks = data._tracks(data.scene(index, 0))
        apart = np.hypot(tracks[0].x - tracks[1].x, tracks[0].y - tracks[1].y)
        assert (
            len(tracks) == 2 and (np.diff(apart) < 0).all() and apart[0] < 64 / 2
        )  # farther would be nearer around the border


# --- a function of (seed, split, index) --------------------------------------------------------------------------


def fingerprint(data: MotionShapes, index: int) -> int:
    return hash(data.frames_of(index).tobytes())


def test_order_length_and_copies_play_no_part():
    data = MotionShapes(40, background="textured")
    forwards = [data.frames_of(index) for index in range(40)]
    longer = pickle.loads(pickle.dumps(dataclasses.replace(data, length=1000)))
    for index in reversed(range(40)):
        assert np.array_equal(longer.frames_of(index), forwards[index])
    assert np.array_equal(data.frames_of(-1), forwards[-1])
    assert len({frames.tobytes() for frames in forwards}) == 40


def test_global_random_state_plays_no_part_and_is_left_alone():
    data = MotionShapes(4, background="photo")
    before = data.frames_of(3)
    np.random.seed(1)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    assert np.array_equal(data.frames_of(3), before)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("start", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_draw_the_same_clips(start, workers):
    if start not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot start processes by {start}")
    data = MotionShapes(16, background="photo")
    loader = DataLoader(data, 4, num_workers=workers, multiprocessing_context=start)
    clips, labels = (torch.cat(part) for part in zip(*loader, strict=True))
    assert labels.tolist() == [data.label(index) for index in range(16)]
    assert torch.equal(clips, torch.stack([data[index][0] for index in range(16)]))


def test_seeds_and_splits_have_nothing_in_common():
    scenes = {
        dataclasses.astuple(MotionShapes(200, split, seed).scene(index, 0))[3:9]
        for split in SPLITS
        for seed in range(3)
        for index in range(200)
    }
    assert len(scenes) == 3 * 3 * 200


def test_settings_do_not_change_the_draws():
    plain = MotionShapes(50)
    other = MotionShapes(50, background="photo", noise=0.3, frames=16, appearance_bias=0.7, contrast="mixed")
    for index in range(50):
        one, two = plain.scene(index), other.scene(index)
        assert dataclasses.replace(two, look=one.look, bright=one.bright) == one


def test_the_streams_are_those_of_the_book():
    scene = MotionShapes(1000, "val", seed=7).scene(123)
    assert (scene.motion, scene.backwards, scene.look) == GOLDEN[:3]
    numbers = (scene.x, scene.y, scene.radius, scene.angle, scene.direction, scene.rate)
    assert numbers == pytest.approx(GOLDEN[3:], abs=1e-12)


# --- tensors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_items(settings):
    data = MotionShapes(13, **settings)
    clip, label = data[12]
    frames = data.frames_of(12)
    assert clip.dtype == torch.float32 and clip.shape == (3, data.frames, *data.hw)
    assert type(label) is int and label == 0
    assert frames.dtype == np.uint8 and frames.shape == (data.frames, *data.hw, 3)
    expected = (torch.from_numpy(frames).permute(3, 0, 1, 2) / 255 - MEAN) / STD
    assert torch.allclose(clip, expected, atol=1e-6)
    assert len(list(data)) == len(data) == 13


def test_classes():
    data = MotionShapes(10, motions=("turn", "horizontal"))
    assert data.classes == ("clockwise", "counterclockwise", "left", "right")
    assert (data.pair_of(3), data.partner(3), data.partner(0)) == ("horizontal", 2, 1)
    assert MotionShapes(1, motions="turn").classes == data.classes[:2]
    assert len(set(LOOKS)) == 12 == len(MotionShapes(1).classes) == 2 * len(MOTIONS)


def test_the_look_belongs_to_the_class_not_to_its_number():
    every = MotionShapes(12, appearance_bias=1.0)
    turn = MotionShapes(2, motions="turn", appearance_bias=1.0)
    assert [every.scene(index).look for index in range(12)] == list(range(12))
    assert [turn.scene(index).look for index in range(2)] == [4, 5]


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("bright", [True, False])
def test_shapes_stand_out(background, bright):
    data = MotionShapes(200, background=background, noise=0, contrast="mixed", motions="horizontal")
    for index in range(200):
        if data.scene(index).bright == bright:
            frame = data.frames_of(index)[0]
            assert frame.max() > 200 if bright else frame.max(-1).min() < 100
            edge = np.median(frame)
            assert edge < 80 if bright else edge > 170


def test_noise_has_the_deviation_asked_for():
    clean, noisy = (MotionShapes(1, noise=noise, size=96, contrast="mixed") for noise in (0, 0.05))
    inside = (clean.frames_of(0) > 45) & (clean.frames_of(0) < 210)
    difference = (noisy.frames_of(0) - clean.frames_of(0).astype(float))[inside] / 255
    assert difference.std() == pytest.approx(0.05, rel=0.02)
    assert abs(difference.mean()) < 0.002


# --- the bound ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("looks", [2, 3, 12])
@pytest.mark.parametrize("rho", [Fraction(0), Fraction(1, 10), Fraction(1, 2), Fraction(9, 10), Fraction(1)])
def test_bound_by_enumeration(rho, looks):
    """All (class, look) of one pair, with their exact probabilities; the best guess for each look."""
    best = sum(
        max(Fraction(1, 2) * (rho * (look == own) + (1 - rho) / looks) for own in (0, 1)) for look in range(looks)
    )
    assert bag_of_frames_bound(rho) == best == (1 + rho) / 2


@pytest.mark.parametrize("rho", [Fraction(0), Fraction(1, 2), Fraction(9, 10)])
def test_bound_of_the_look_alone_by_enumeration(rho):
    best = sum(max(Fraction(1, 12) * (rho * (look == own) + (1 - rho) / 12) for own in range(12)) for look in range(12))
    assert bag_of_frames_bound(rho, alike=12) == best


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_best_order_blind_guesser_reaches_the_bound(rho):
    """It is told the pair and the look of each clip, which is all that a bag of frames can tell."""
    data = MotionShapes(12_000, appearance_bias=rho)
    owns = {look: name for look, name in enumerate(name for pair in MOTIONS.values() for name in pair)}
    right = 0
    for index in range(len(data)):
        scene = data.scene(index)
        first, second = MOTIONS[scene.motion]
        guess = second if owns[scene.look] == second else first
        right += guess == data.classes[data.label(index)]
    bound = bag_of_frames_bound(rho)
    deviation = (bound * (1 - bound) / len(data)) ** 0.5
    assert abs(right / len(data) - bound) < 4 * deviation


# --- files -------------------------------------------------------------------------------------------------------


def test_written_files_show_the_clips(tmp_path):
    data = MotionShapes(12, "val", background="photo")
    listed = data.write(tmp_path)
    lines = listed.read_text().splitlines()
    assert listed == tmp_path / "val.csv" and lines[1] == "val/right/000001.mp4 1" and len(lines) == 12
    assert tuple((tmp_path / "classes.txt").read_text().split()) == data.classes
    for index, line in enumerate(lines):
        path = tmp_path / line.split()[0]
        info = video_info(path)
        assert (info.frames, info.fps, info.height, info.width) == (8, 8.0, 32, 32)
        assert psnr(read_frames(path, range(8)), data.frames_of(index)) > 26
    assert not list(tmp_path.rglob("*.tmp"))


def test_files_keep_the_look(tmp_path):
    """Half the resolution for color blurs small shapes; which of the six colors it was must still be seen."""
    data = MotionShapes(24, appearance_bias=1.0, motions=("horizontal", "vertical", "turn"))
    listed = data.write(tmp_path)
    for index, line in enumerate(listed.read_text().splitlines()):
        original, decoded = data.frames_of(index), read_frames(tmp_path / line.split()[0], range(8))
        shape = original.max(-1) > 150
        here = decoded[shape].mean(0) / np.linalg.norm(decoded[shape].mean(0))
        means = {
            label: data.frames_of(other)[data.frames_of(other).max(-1) > 150].mean(0)
            for label, other in enumerate(range(6))
        }
        nearest = max(means, key=lambda label: here @ means[label] / np.linalg.norm(means[label]))
        assert nearest == data.label(index)


def test_key_frames(tmp_path):
    data = MotionShapes(1, frames=30, motions="turn")
    for every in (12, 1):
        path = tmp_path / str(every) / data.write(tmp_path / str(every), keyframe_every=every).read_text().split()[0]
        with av.open(str(path)) as container:
            keys = [number for number, frame in enumerate(container.decode(video=0)) if frame.key_frame]
        assert keys == list(range(0, 30, every))


def test_files_of_single_frames_are_as_symmetric_as_the_clips(tmp_path):
    """With every frame coded by itself, the file of the partner shows the same decoded frames backwards."""

    class Partner(MotionShapes):
        def frames_of(self, index, label=None):
            return super().frames_of(index, label)[::-1]

    decoded = {}
    for kind in (MotionShapes, Partner):
        for every in (1, 12):
            data = kind(6, noise=0.05)
            folder = tmp_path / f"{kind.__name__}{every}"
            lines = data.write(folder, keyframe_every=every).read_text().splitlines()
            decoded[kind, every] = np.stack([read_frames(folder / line.split()[0], range(8)) for line in lines])
    assert np.array_equal(decoded[MotionShapes, 1], decoded[Partner, 1][:, ::-1])
    assert not np.array_equal(decoded[MotionShapes, 12], decoded[Partner, 12][:, ::-1])


def test_writing_goes_on_where_it_was(tmp_path, monkeypatch):
    data = MotionShapes(8)
    calls = []
    whole = MotionShapes.frames_of

    def stops_at_five(self, index, label=None):
        calls.append(index)
        if index == 5:
            raise KeyboardInterrupt
        return whole(self, index, label)

    monkeypatch.setattr(MotionShapes, "frames_of", stops_at_five)
    with pytest.raises(KeyboardInterrupt):
        data.write(tmp_path)
    assert len(list(tmp_path.rglob("*.mp4"))) == 5 and not list(tmp_path.rglob("*.tmp"))
    assert not (tmp_path / "train.csv").exists()
    monkeypatch.setattr(MotionShapes, "frames_of", lambda self, index: calls.append(index) or whole(self, index))
    data.write(tmp_path)
    assert calls == [0, 1, 2, 3, 4, 5, 5, 6, 7]
    assert len((tmp_path / "train.csv").read_text().splitlines()) == 8


def test_writing_in_processes_writes_the_same(tmp_path):
    data = MotionShapes(6)
    one, two = data.write(tmp_path / "one"), data.write(tmp_path / "two", workers=1)
    assert one.read_text() == two.read_text()
    for line in one.read_text().splitlines():
        name = line.split()[0]
        assert (one.parent / name).read_bytes() == (two.parent / name).read_bytes()


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
    MotionShapes(2).write(tmp_path)
    MotionShapes(2, "val").write(tmp_path)
    with pytest.raises(ValueError, match="made with other settings"):
        MotionShapes(2, seed=1).write(tmp_path)
    with pytest.raises(ValueError, match="crf=60 must be from 0 to 51"):
        MotionShapes(2).write(tmp_path, crf=60)


def test_more_clips_can_be_added_and_leftovers_go(tmp_path):
    MotionShapes(2).write(tmp_path)
    leftover = tmp_path / "train" / "left" / "000000.mp4.99.tmp"
    leftover.write_text("half a file")
    listed = MotionShapes(5).write(tmp_path)
    assert len(listed.read_text().splitlines()) == len(list(tmp_path.rglob("*.mp4"))) == 5
    assert not leftover.exists()


def test_the_script_writes_three_splits(tmp_path, capsys):
    from data_scripts.motion_shapes import main

    words = ["--clips", "4", "2", "3", "--bias", "0.5", "--size", "16", "24", "--workers", "0"]
    assert main([str(tmp_path), *words]) == 0
    assert "at most 0.750 on average" in capsys.readouterr().out
    counts = [len((tmp_path / f"{split}.csv").read_text().splitlines()) for split in SPLITS]
    assert counts == [4, 2, 3]
    assert main([str(tmp_path), *words, "--seed", "1"]) == 1
    assert "made with other settings" in capsys.readouterr().err


def test_odd_sizes_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="must be even"):
        MotionShapes(2, size=33).write(tmp_path)


# --- input errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"split": "dev"}, "split='dev' does not exist; choose from train, val, test"),
        ({"background": "sea"}, "choose from plain, textured, photo"),
        ({"contrast": 3}, "contrast=3 does not exist"),
        ({"motions": "spin"}, "motions='spin' does not exist; choose from horizontal"),
        ({"motions": ()}, "at least one pair"),
        ({"motions": ("turn", "turn")}, "none twice"),
        ({"appearance_bias": 1.2}, "must be a probability"),
        ({"appearance_bias": float("nan")}, "must be a probability"),
        ({"size": 4}, "from 8 up"),
        ({"size": (32, 32, 3)}, "from 8 up"),
        ({"size": 31.5}, "from 8 up"),
        ({"frames": 1}, "frames=1 must be a whole number, at least 2"),
        ({"frames": 2.5}, "frames=2.5 must be a whole number"),
        ({"length": -1}, "length=-1 must be a whole number"),
        ({"noise": -0.1}, "noise=-0.1 must not be below"),
        ({"fps": 0}, "must be above 0"),
        ({"speed": 4}, "too far to see where to"),
    ],
)
def test_impossible_settings(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        MotionShapes(**{"length": 10} | settings)


def test_impossible_questions():
    data = MotionShapes(10)
    for index in (10, -11):
        with pytest.raises(IndexError, match="the train split has 10, counted from 0"):
            data[index]
    with pytest.raises(ValueError, match="there is no class 12; the 12 classes"):
        data.partner(12)
    with pytest.raises(ValueError, match="must be a probability"):
        bag_of_frames_bound(-0.1)
    with pytest.raises(ValueError, match="at least 1"):
        bag_of_frames_bound(0.5, alike=0)
