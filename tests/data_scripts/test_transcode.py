"""One source in, one file out: size, key frames, times, rotation, cuts; and what is wrong with a bad source."""

from __future__ import annotations

import os
from fractions import Fraction

import av
import numpy as np
import pytest

from data_scripts import transcode as module
from data_scripts.atomic import remove_stale, replacing
from data_scripts.source import SourceError
from data_scripts.transcode import Settings, problem, target_size, transcode
from tests.data_scripts.videos import key_frames, make_video, watch

SMALL = Settings(short_side=48, preset="ultrafast")


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((1280, 720), (454, 256)),  # 455.1
        ((640, 480), (340, 256)),  # 341.3: 4:3 videos are 340x256
        ((340, 256), (340, 256)),  # the copies of Kinetics that labs share stay as they are
        ((341, 256), (340, 256)),
        ((480, 640), (256, 340)),
        ((256, 256), (256, 256)),
        ((320, 240), (320, 240)),  # not enlarged
        ((321, 241), (320, 240)),
        ((1, 1), (2, 2)),
    ],
)
def test_target_size(source, target):
    assert target_size(*source, Settings()) == target


def test_target_size_options():
    assert target_size(160, 120, Settings(upscale=True)) == (340, 256)
    assert target_size(720, 576, Settings(), Fraction(16, 15)) == (340, 256)  # a PAL DVD: its pixels are wide
    assert target_size(1280, 720, Settings(short_side=320)) == (568, 320)


@pytest.mark.parametrize("wrong", [{"short_side": 255}, {"short_side": 0}, {"key_frames": 0}, {"crf": 52}])
def test_settings_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)


@pytest.mark.parametrize(
    ("name", "changes", "size"),
    [
        ("plain.mp4", {}, (72, 48)),
        ("sound.mkv", {"audio": True}, (72, 48)),
        ("odd.mkv", {"size": (131, 99), "pix_fmt": "yuv444p"}, (62, 48)),
        ("portrait.mp4", {"size": (64, 96)}, (48, 72)),
        ("small.mp4", {"size": (80, 40)}, (80, 40)),
        ("something.webm", {"codec": "libvpx", "fps": 12}, (72, 48)),
        ("old.avi", {"codec": "mpeg4"}, (72, 48)),
        ("wide_pixels.mp4", {"aspect": Fraction(4, 3)}, (96, 48)),
        ("late.ts", {}, (72, 48)),  # starts at 1.4 s
    ],
)
def test_every_frame_arrives_at_its_time(tmp_path, name, changes, size):
    source = make_video(tmp_path / name, **changes)
    assert transcode(source, tmp_path / "out" / "clip.mp4", SMALL) == "encoded"
    numbers, times, found = watch(tmp_path / "out" / "clip.mp4")
    assert numbers == list(range(40))
    assert found == size
    fps = changes.get("fps", 25)
    assert times == pytest.approx(np.arange(40) / fps, abs=1e-3)
    assert np.diff([*key_frames(tmp_path / "out" / "clip.mp4"), 40]).max() <= 12
    with av.open(str(tmp_path / "out" / "clip.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
        assert float(container.streams.video[0].average_rate) == pytest.approx(fps, rel=0.01)
    assert os.listdir(tmp_path / "out") == ["clip.mp4"]


def test_a_variable_frame_rate_stays_one(tmp_path):
    times = [40 * i + 11 * (i % 3) + (500 if i > 20 else 0) for i in range(40)]
    transcode(make_video(tmp_path / "phone.mp4", times=times), tmp_path / "out.mp4", SMALL)
    numbers, found, _ = watch(tmp_path / "out.mp4")
    assert numbers == list(range(40))
    assert found == pytest.approx([time / 1000 for time in times], abs=1e-4)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_rotation_is_applied_to_the_pixels(tmp_path, rotation):
    transcode(make_video(tmp_path / "turned.mp4", count=5, rotation=rotation), tmp_path / "out.mp4", SMALL)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(container.streams.video[0]))
    assert frame.rotation == 0
    picture = frame.to_ndarray(format="rgb24").astype(int)
    assert picture.shape[:2] == ((72, 48) if rotation % 180 else (48, 72))
    upright = np.rot90(picture, -rotation // 90)  # the red block went from the top left around to the left
    assert upright[2:8, 2:12, 0].mean() > 180 > 60 > upright[2:8, 2:12, 1:].mean()


def test_a_phone_that_was_held_upright(tmp_path):
    """The turn as a phone writes it, byte for byte: the sensor's picture, turned right by 90 degrees."""
    source = make_video(tmp_path / "phone.mp4", count=5)
    data = source.read_bytes()
    at = data.index(b"tkhd") + 4 + 40  # the matrix of a version 0 track header
    right = b"".join(
        value.to_bytes(4, "big", signed=True) for value in (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    )
    source.write_bytes(data[:at] + right + data[at + 36 :])
    transcode(source, tmp_path / "out.mp4", SMALL)
    with av.open(str(tmp_path / "out.mp4")) as container:
        picture = next(container.decode(container.streams.video[0])).to_ndarray(format="rgb24").astype(int)
    assert picture.shape[:2] == (72, 48)
    assert picture[2:12, -8:-2, 0].mean() > 180 > 60 > picture[2:12, -8:-2, 1:].mean()  # now at the top right


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuvj420p", "yuv444p", "yuv420p10le"])
def test_colors_stay(tmp_path, pix_fmt):
    source = make_video(tmp_path / "source.mp4", count=3, pix_fmt=pix_fmt)
    transcode(source, tmp_path / "out.mp4", SMALL)
    colors = []
    for path in (source, tmp_path / "out.mp4"):
        with av.open(str(path)) as container:
            picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
            height, width = picture.shape[:2]
            colors.append([picture[height // 8, width // 8], picture[height // 2, width // 2]])
    assert np.abs(np.subtract(*np.array(colors, dtype=int))).max() <= 8


def test_the_color_matrix_is_kept(tmp_path):
    with av.open(str(tmp_path / "hd.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.colorspace = stream.codec_context.color_primaries = stream.codec_context.color_trc = 1
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 96, 3), 90, np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    transcode(tmp_path / "hd.mp4", tmp_path / "out.mp4", SMALL)
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)  # BT.709


def test_what_is_ready_is_copied_without_loss(tmp_path):
    source = make_video(tmp_path / "ready.mp4", size=(64, 48), key_frames=12, audio=True)
    assert transcode(source, tmp_path / "out.mp4", SMALL) == "copied"
    assert watch(tmp_path / "out.mp4") == (list(range(40)), pytest.approx(np.arange(40) / 25, abs=2e-3), (64, 48))
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mp4")) as after:
        pairs = zip(before.decode(video=0), after.decode(video=0), strict=True)
        assert all(np.array_equal(a.to_ndarray(), b.to_ndarray()) for a, b in pairs)
        assert not after.streams.audio


@pytest.mark.parametrize(
    "change", [{"key_frames": 13}, {"size": (64, 64)}, {"rotation": 90}, {"aspect": Fraction(2)}, {"codec": "mpeg4"}]
)
def test_what_is_not_ready_is_encoded(tmp_path, change):
    source = make_video(tmp_path / "source.mp4", **({"size": (64, 48), "key_frames": 12} | change))
    assert transcode(source, tmp_path / "out.mp4", SMALL) == "encoded"


def test_what_is_copied_starts_at_zero(tmp_path):
    times = [1000 + 40 * index for index in range(40)]
    source = make_video(tmp_path / "late.mp4", size=(64, 48), key_frames=12, times=times)
    assert transcode(source, tmp_path / "out.mp4", SMALL) == "copied"
    assert watch(tmp_path / "out.mp4")[:2] == (list(range(40)), pytest.approx(np.arange(40) / 25, abs=1e-3))


def test_hidden_frames_do_not_come_back(tmp_path):
    """A file that was cut without encoding: an edit list hides its frames before the cut."""
    times = [40 * index - 200 for index in range(40)]
    source = make_video(tmp_path / "cut.mp4", size=(64, 48), key_frames=12, times=times)
    shown = watch(source)[0]
    assert shown == list(range(5, 40))
    assert transcode(source, tmp_path / "out.mp4", SMALL) == "encoded"
    assert watch(tmp_path / "out.mp4")[0] == shown


def test_the_key_frames_of_the_source_are_not_repeated(tmp_path):
    source = make_video(tmp_path / "all_keys.avi", size=(64, 48), codec="mpeg4", key_frames=1)
    transcode(source, tmp_path / "out.mp4", Settings(short_side=48, preset="ultrafast", key_frames=20))
    assert key_frames(tmp_path / "out.mp4") == [0, 20]


def test_frames_without_times_follow_each_other(tmp_path):
    with av.open(str(make_video(tmp_path / "source.mp4"))) as container, open(tmp_path / "raw.h264", "wb") as raw:
        context = container.streams.video[0].codec_context
        sizes, at = context.extradata, 6
        for _ in range(2):  # the two parameter sets, each after a start code
            length = int.from_bytes(sizes[at : at + 2], "big")
            raw.write(b"\0\0\0\1" + sizes[at + 2 : at + 2 + length])
            at += 3 + length
        for packet in container.demux(video=0):
            data, at = bytes(packet), 0
            while at < len(data):  # a length before each unit becomes a start code
                length = int.from_bytes(data[at : at + 4], "big")
                raw.write(b"\0\0\0\1" + data[at + 4 : at + 4 + length])
                at += 4 + length
    transcode(tmp_path / "raw.h264", tmp_path / "out.mp4", SMALL)
    numbers, times, _ = watch(tmp_path / "out.mp4")
    assert numbers == list(range(40)) and times == pytest.approx(np.arange(40) / 25, abs=2e-3)


def test_the_index_is_at_the_front(tmp_path):
    for name, keys in (("encoded", 250), ("copied", 12)):
        source = make_video(tmp_path / f"{name}.mp4", size=(64, 48), key_frames=keys)
        assert transcode(source, tmp_path / "out.mp4", SMALL) == name
        data = (tmp_path / "out.mp4").read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("name", ["movie.mkv", "movie.mp4", "movie.avi", "movie.ts", "movie.webm"])
@pytest.mark.parametrize(("start", "end"), [(1.5, 3.0), (0.0, 1.0), (2.0, 2.4)])
def test_a_cut_shows_what_the_source_shows(tmp_path, name, start, end):
    codec = {".avi": "mpeg4", ".webm": "libvpx"}.get(name[-4:] if name.endswith("avi") else name[-5:], "libx264")
    source = make_video(tmp_path / name, count=100, codec=codec, key_frames=30)
    transcode(source, tmp_path / "out.mp4", SMALL, start, end)
    numbers, times, _ = watch(tmp_path / "out.mp4")
    assert times[0] == 0 and np.diff(times).min() > 0
    for second in np.arange(0.01, end - start, 0.04):
        shown = numbers[int(np.searchsorted(times, second + 1e-3, side="right")) - 1]
        assert shown == int((start + second) * 25 + 0.03)
    assert numbers[-1] == np.ceil(end * 25 - 0.01) - 1  # the frame at `end` itself is outside


def test_what_is_wrong_with_a_source_is_said(tmp_path):
    whole = make_video(tmp_path / "whole.mkv", count=100)
    sound = tmp_path / "sound.mp4"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        for block in range(5):
            noise = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), "fltp", "mono")
            noise.sample_rate, noise.pts = 16000, block * 1024
            container.mux(stream.encode(noise))
        container.mux(stream.encode(None))
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("<html>Video unavailable</html>")
    (tmp_path / "half.mkv").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    spoiled = bytearray(make_video(tmp_path / "spoiled.mp4", count=100, codec="mpeg4").read_bytes())
    begin, length = spoiled.index(b"mdat") + 400, spoiled.index(b"moov") - spoiled.index(b"mdat") - 800
    spoiled[begin : begin + length] = bytes(length)
    (tmp_path / "spoiled.mp4").write_bytes(spoiled)
    for name, cut, cause in [
        ("missing.mp4", (None, None), "no such file"),
        ("empty.mp4", (None, None), "0 bytes"),
        ("text.mp4", (None, None), "cannot be read as a video"),
        ("sound.mp4", (None, None), "no video"),
        ("half.mkv", (None, None), "s of 4.0 s can be read"),
        ("spoiled.mp4", (None, None), "can be|decoded"),
        ("whole.mkv", (10.0, 12.0), "ends at 4.0 s"),
        ("whole.mkv", (2.0, 2.0), "empty"),
    ]:
        with pytest.raises(SourceError, match=cause):
            transcode(tmp_path / name, tmp_path / "out" / "clip.mp4", SMALL, *cut)
        assert not list((tmp_path / "out").rglob("*")), name


def test_a_file_that_is_wrong_is_not_put_in_place(tmp_path, monkeypatch):
    source = make_video(tmp_path / "source.mp4")
    encode = module.encode
    monkeypatch.setattr(module, "encode", lambda *args: encode(*args) + 1)
    with pytest.raises(SourceError, match="40 frames; 41 were written"):
        transcode(source, tmp_path / "out" / "clip.mp4", SMALL)
    sparse = Settings(short_side=48, key_frames=30, preset="ultrafast")
    monkeypatch.setattr(module, "encode", lambda frames, stream, path, settings: encode(frames, stream, path, sparse))
    with pytest.raises(SourceError, match="between two key frames"):
        transcode(source, tmp_path / "out" / "b.mp4", SMALL)
    assert not list((tmp_path / "out").iterdir())


def test_problem(tmp_path):
    good = make_video(tmp_path / "good.mp4", key_frames=12)
    assert problem(good, SMALL) == "" and problem(good, SMALL, 40) == ""
    assert "39 were written" in problem(good, SMALL, 39)
    assert "key frames" in problem(good, Settings(key_frames=11))
    assert "mpeg4" in problem(make_video(tmp_path / "old.mp4", codec="mpeg4", key_frames=12), SMALL)
    (tmp_path / "cut.mp4").write_bytes(good.read_bytes()[:1000])
    assert "cannot be read" in problem(tmp_path / "cut.mp4", SMALL)


def test_temporary_files(tmp_path):
    (tmp_path / "clip.mp4").write_text("old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "clip.mp4") as temporary:
        temporary.write_text("half")
        assert temporary.name.startswith(".") and (tmp_path / "clip.mp4").read_text() == "old"
        assert remove_stale(tmp_path) == 0  # its process lives
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    with replacing(tmp_path / "clip.mp4") as temporary:
        temporary.write_text("new")
        own = temporary.name
    assert (tmp_path / "clip.mp4").read_text() == "new"
    (tmp_path / own.replace(f".{os.getpid()}.", ".4194304999.")).touch()  # no process has such a number
    (tmp_path / ".clip.mp4.another-machine.1.part").touch()
    (tmp_path / ".hidden").touch()
    assert remove_stale(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".clip.mp4.another-machine.1.part",
        ".hidden",
        "clip.mp4",
    ]
