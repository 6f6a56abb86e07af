"""Reading videos: exactly the frames asked for, and one clear sentence for a file that cannot be used."""

from __future__ import annotations

import gc
import os
import shutil
import struct

import av
import numpy as np
import pytest
import torch

from mvit_edu.data import VideoError, load_clip, open_video, read_frames, video_info
from mvit_edu.data import reader as reader_module
from mvit_edu.data.packets import runs_to_decode
from mvit_edu.data.reader import Video
from tests.data.painted import all_frames, number_in, painted, write_video

FRAMES = 60
X265 = "log-level=none"
# name of the file: how it is encoded, and whether the module should need to decode it from its start
FILES = {
    "h264.mp4": ({}, False),
    "h264.mkv": ({}, False),
    "h264.mov": ({}, False),
    "h264.ts": ({}, False),
    "h264.avi": ({}, True),  # an AVI stores no times, so frames are counted
    "fragments.mp4": ({"container_options": {"movflags": "frag_keyframe+empty_moov"}}, False),
    "open_gop.mp4": ({"options": {"x264-params": "open-gop=1:keyint=12:bframes=3"}}, False),
    "one_key_frame.mp4": ({"options": {"x264-params": "bframes=8:ref=4"}, "key_frame_every": 250}, False),
    "no_b_frames.mp4": ({"options": {"bf": "0"}}, False),
    "intra_refresh.mp4": ({"options": {"x264-params": "intra-refresh=1:keyint=24"}}, True),  # no real key frames
    "444.mp4": ({"width": 97, "height": 65, "pixel_format": "yuv444p"}, False),
    "hevc.mp4": ({"codec": "libx265", "options": {"x265-params": X265}}, False),
    "hevc.mkv": ({"codec": "libx265", "options": {"x265-params": f"{X265}:open-gop=1:keyint=12"}}, False),
    "vp9.webm": ({"codec": "libvpx-vp9", "options": {"lag-in-frames": "16", "cpu-used": "8"}}, False),
    "odd_size.mkv": ({"codec": "libvpx-vp9", "width": 97, "height": 65, "options": {"cpu-used": "8"}}, False),
    "vp8.webm": ({"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}}, False),
    "av1.mp4": ({"codec": "libsvtav1", "options": {"preset": "10"}}, False),
    "av1.mkv": ({"codec": "libsvtav1", "options": {"preset": "10"}}, False),
    "mpeg4.avi": ({"codec": "mpeg4"}, False),
    "mpeg4_b_frames.avi": ({"codec": "mpeg4", "options": {"bf": "2"}}, False),
    "mpeg4.mp4": ({"codec": "mpeg4", "options": {"bf": "2"}}, False),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def video(folder):
    return write_video(folder / "painted.mp4", FRAMES)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_pixels_as_decoding_everything(tmp_path, monkeypatch, name, threads):
    options, from_start = FILES[name]
    if options.get("codec", "libx264") not in av.codecs_available:
        pytest.skip(f"this build of FFmpeg cannot write {options['codec']}")
    path = write_video(tmp_path / name, FRAMES, **options)
    expected = all_frames(path)
    assert [number_in(frame) for frame in expected] == list(range(FRAMES))
    counted = []
    by_counting = Video._frames_by_counting
    monkeypatch.setattr(
        Video, "_frames_by_counting", lambda self, wanted: counted.append(wanted) or by_counting(self, wanted)
    )
    random = np.random.default_rng(0)
    with open_video(path, threads=threads) as opened:
        assert opened.frames == FRAMES
        assert opened.fps == 30
        assert np.abs(opened.times - np.arange(FRAMES) / 30).max() <= 0.0006
        for size in (1, 1, 2, 5, 16):
            wanted = random.integers(0, FRAMES, size).tolist()
            assert np.array_equal(opened.read(wanted), expected[wanted])
        assert np.array_equal(opened.read(range(FRAMES)), expected)
        assert np.array_equal(opened.read(times=[17 / 30]), expected[[17]])
    assert bool(counted) == from_start
    info = video_info(path)
    assert (info.frames, info.height, info.width) == expected.shape[:3]
    assert info.constant_rate


def test_frames_count_in_the_order_shown_not_stored(video):
    with av.open(str(video)) as container:
        stored = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert stored != sorted(stored), "this video should have B-frames, or the test shows nothing"
    assert [number_in(frame) for frame in read_frames(video, range(8))] == list(range(8))


@pytest.mark.parametrize(
    "indices",
    [[30, 2, 2, 17, 30, 0], np.array([5, 4, 3]), torch.tensor([11, 12, 13])],
    ids=["unordered and repeated", "numpy", "torch"],
)
def test_any_list_of_numbers(video, indices):
    frames = read_frames(video, indices)
    assert frames.dtype == np.uint8 and frames.shape == (len(indices), 64, 96, 3)
    assert [number_in(frame) for frame in frames] == [int(index) for index in indices]


def test_no_more_is_decoded_than_needed(video, monkeypatch):
    """For frame 40: the packets from its key frame, 36, to it, and of these no B-frame that nobody refers to."""
    packets = Video._packets
    fed = []
    monkeypatch.setattr(
        Video, "_packets", lambda self, *run: (fed.append(packet.pts) or packet for packet in packets(self, *run))
    )
    shown = []
    pixels = Video._pixels
    monkeypatch.setattr(Video, "_pixels", lambda self, frame: shown.append(frame.pts) or pixels(self, frame))
    with open_video(video) as opened:
        index = opened._index
        number = {pts: number for number, pts in enumerate(index.pts[place] for place in index.shown)}
        opened.read([40])
        assert number[fed[0]] == 36 and number[fed[-1]] == 40
        assert {number[pts] for pts in fed} <= set(range(36, 48)) and len(fed) < 12
        assert [number[pts] for pts in shown] == [40], "only the wanted frame is turned into RGB"
        (run,) = runs_to_decode(index, [47])
        everything = [number[frame.pts] for frame in opened._decode(*run)]
        needed = [number[frame.pts] for frame in opened._decode(*run, needed={index.pts[index.shown[47]]: 47})]
        assert everything[0] == needed[0] == 36 and everything[-1] == needed[-1] == 47
        assert len(needed) < len(everything), "some B-frames are skipped"


def test_runs_go_from_the_key_frame_to_the_last_wanted_frame(video):
    with open_video(video) as opened:
        index = opened._index
        assert opened.key_frames == (0, 12, 24, 36, 48)
        place = index.shown.tolist()
        assert runs_to_decode(index, [12]) == [(place[12], place[12])]
        assert runs_to_decode(index, [11]) == [(0, place[11])]
        assert runs_to_decode(index, [50, 2]) == [(0, place[2]), (place[48], place[50])]
        whole = runs_to_decode(index, list(range(24)))
        assert whole == [(0, 23)], "groups that touch are decoded in one go"


def test_a_frame_shown_before_the_key_frame_it_is_stored_after(tmp_path):
    """With open groups of pictures, B-frames after a key frame refer to the group before it."""
    path = write_video(tmp_path / "open.mp4", FRAMES, options={"x264-params": "open-gop=1:keyint=12:bframes=3"})
    with open_video(path) as opened:
        index = opened._index
        leading = [
            number
            for number, place in enumerate(index.shown)
            if any(key < place and index.pts[key] > index.pts[place] for key in np.flatnonzero(index.key))
        ]
        assert leading, "this file should have such frames, or the test shows nothing"
        for number in leading:
            ((first, _),) = runs_to_decode(index, [number])
            assert index.pts[first] < index.pts[index.shown[number]]
            assert number_in(opened.read([number])[0]) == number


def test_hidden_frames_of_vp8_do_not_count(tmp_path):
    """VP8 stores frames that are only referred to; bit 4 of a packet tells whether its frame is shown."""
    visible = write_video(tmp_path / "visible.webm", FRAMES, codec="libvpx")
    path = tmp_path / "hidden.webm"
    with av.open(str(visible)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                data = bytearray(bytes(packet))
                if number in (10, 30):
                    data[0] &= ~0x10
                copy = av.Packet(bytes(data))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.is_keyframe = packet.is_keyframe
                copy.stream = stream
                target.mux(copy)
    expected = all_frames(path)
    assert len(expected) == FRAMES - 2
    with open_video(path) as opened:
        assert opened.frames == FRAMES - 2
        assert np.array_equal(opened.read([9, 10, 29, 50]), expected[[9, 10, 29, 50]])


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "h264.ts", "hevc.mp4", "vp9.webm", "mpeg4_b_frames.avi"])
def test_a_seek_leads_to_the_key_frame_itself(tmp_path, monkeypatch, name):
    """Not to the one before it, and not by opening the file again: that would cost what seeking should save."""
    path = write_video(tmp_path / name, 120, **FILES[name][0])
    with open_video(path) as opened:
        monkeypatch.setattr(opened, "_open", lambda: pytest.fail("the file was opened again"))
        for number in (108, 12, 60):
            place = int(opened._index.shown[number])
            opened._seek(place)
            assert opened._at == place and number in opened.key_frames


def test_a_seek_that_leads_elsewhere_costs_time_but_no_frame(video, monkeypatch):
    expected = all_frames(video)
    with open_video(video) as opened:
        container = opened._container

        class Astray:
            def __getattr__(self, name):
                return getattr(container, name)

            def seek(self, offset, **options):
                container.seek(opened._index.pts[48], stream=options["stream"], backward=True)  # a key frame, too late

        monkeypatch.setattr(opened, "_container", Astray())
        assert np.array_equal(opened.read([13]), expected[[13]])


def test_the_packet_list_is_read_again_when_the_file_changes(tmp_path):
    path = write_video(tmp_path / "a.mp4", 30)
    longer = path.read_bytes()
    shorter = write_video(path, 20).read_bytes()
    path.write_bytes(shorter.ljust(len(longer), b"\0"))  # of the same size
    assert video_info(path).frames == 20
    path.write_bytes(longer)
    os.utime(path, ns=(1, 1))
    assert video_info(path).frames == 30
    assert number_in(read_frames(path, [25])[0]) == 25


def test_the_cache_of_packet_lists_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(reader_module, "CACHED_INDEXES", 2)
    first = write_video(tmp_path / "0.mp4", 5)
    for number in range(4):
        copy = shutil.copy(first, tmp_path / f"{number + 1}.mp4")
        video_info(copy)
    assert len(reader_module._INDEXES) <= 2


# Times


def test_variable_rate_by_number_and_by_time(tmp_path):
    """Frame n is shown at n/30 s up to frame 9, and 1 second later from frame 10 on."""
    ticks = [number + (30 if number > 9 else 0) for number in range(20)]
    for name in ("uneven.mp4", "uneven.mkv"):
        path = write_video(tmp_path / name, 20, times=ticks)
        with open_video(path) as opened:
            assert [number_in(frame) for frame in opened.read(range(20))] == list(range(20))
            times = [0, 0.05, 9 / 30, 1.0, 1.3, 40 / 30, 49 / 30]
            assert [number_in(frame) for frame in opened.read(times=times)] == [0, 1, 9, 9, 9, 10, 19]
            assert not opened.info.constant_rate
            assert abs(opened.seconds - 50 / 30) < 0.01
            assert abs(opened.fps - 19 / (49 / 30)) < 0.05


def test_half_way_between_two_frames_the_first_is_on_screen(video):
    with open_video(video) as opened:
        assert opened.numbers([0.0, 0.5 / 30, 0.99 / 30, 1 / 30, 59.9 / 30, 2.0]) == [0, 0, 0, 1, 59, 59]


@pytest.mark.parametrize("name", ["late.mkv", "late.ts", "late.mp4"])
def test_time_counts_from_the_first_frame(tmp_path, name):
    path = write_video(tmp_path / name, 20, times=[number + 90 for number in range(20)])
    with open_video(path) as opened:
        assert opened.times[0] == 0 and abs(opened.times[19] - 19 / 30) < 0.001
        assert [number_in(frame) for frame in opened.read(times=[0, 0.5])] == [0, 15]


def test_an_edit_list_cuts_frames_off(tmp_path):
    """The edit list says that the video begins one second, 30 frames, after what is stored."""
    path = write_video(tmp_path / "edited.mp4", FRAMES, options={"bf": "0"})
    data = bytearray(path.read_bytes())
    elst = data.index(b"elst")
    version, entries = data[elst + 4], struct.unpack(">I", data[elst + 8 : elst + 12])[0]
    assert (version, entries) == (0, 1)
    duration, start = struct.unpack(">Ii", data[elst + 12 : elst + 20])
    mdhd = data.index(b"mdhd")
    ticks_per_second = struct.unpack(">I", data[mdhd + 16 : mdhd + 20])[0]
    data[elst + 12 : elst + 20] = struct.pack(">Ii", duration // 2, start + ticks_per_second)
    path.write_bytes(data)
    with open_video(path) as opened:
        assert opened.frames == 30
        assert opened.times[0] == 0
        assert [number_in(frame) for frame in opened.read(range(30))] == list(range(30, 60))
        assert [number_in(frame) for frame in opened.read(times=[0.5])] == [45]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_applied(tmp_path, rotation):
    upright = all_frames(write_video(tmp_path / "upright.mp4", 5))
    path = write_video(tmp_path / "turned.mp4", 5, rotation=rotation)
    info = video_info(path)
    frames = read_frames(path, range(5))
    assert info.rotation == rotation
    assert frames.shape == (5, info.height, info.width, 3)
    assert np.array_equal(frames, np.rot90(upright, rotation // 90, axes=(1, 2)))


# What cannot be read


def sound_only(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def no_frames(path):
    with av.open(str(path), "w", options={"movflags": "empty_moov+frag_keyframe"}) as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.start_encoding()


BAD = {
    "missing": (lambda path, good: None, "no such file"),
    "directory": (lambda path, good: path.mkdir(), "is a directory"),
    "empty": (lambda path, good: path.touch(), "0 bytes"),
    "page": (lambda path, good: path.write_text("<!DOCTYPE html><p>Not found</p>\n" * 40), "cannot be read as a video"),
    "text": (lambda path, good: path.write_text("a plain text, renamed to .mp4\n" * 40), "cannot be read as a video"),
    "beginning": (lambda path, good: path.write_bytes(good[:700]), "index is missing, so it was cut off"),
    "zeros": (lambda path, good: path.write_bytes(bytes(5000)), "cannot be read as a video"),
    "sound": (lambda path, good: sound_only(path), "no video stream"),
    "no frames": (lambda path, good: no_frames(path), "cannot be read as a video|holds no frames|too large"),
}


@pytest.mark.parametrize("read", [video_info, lambda path: read_frames(path, [0]), load_clip])
@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path, video, case, read):
    path = tmp_path / f"{case}.mp4"
    make, cause = BAD[case]
    make(path, video.read_bytes())
    with pytest.raises(VideoError, match=cause) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_a_file_cut_off_in_its_frames(tmp_path):
    whole = write_video(tmp_path / "whole.mp4", FRAMES, container_options={"movflags": "faststart"}).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(VideoError, match="ends early"):
        read_frames(path, [0])


def test_a_damaged_frame_is_named_and_the_others_are_read(tmp_path):
    path = write_video(tmp_path / "damaged.mp4", FRAMES, options={"bf": "0"})
    with av.open(str(path)) as container:
        packet = next(packet for packet in container.demux(video=0) if packet.is_keyframe and packet.pts)
        position, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[position : position + size] = bytes(size)
    path.write_bytes(data)
    assert [number_in(frame) for frame in read_frames(path, [0, 11, 24, 59])] == [0, 11, 24, 59]
    with pytest.raises(VideoError, match="frame 12 could not be decoded|Invalid data"):
        read_frames(path, [12])


def test_pictures_that_change_their_size(tmp_path):
    paths = [write_video(tmp_path / f"{width}.h264", 12, width=width) for width in (96, 128)]
    path = tmp_path / "both.h264"
    path.write_bytes(b"".join(one.read_bytes() for one in paths))
    assert [number_in(frame) for frame in read_frames(path, [0, 11])] == [0, 11]
    with pytest.raises(VideoError, match="size of the picture changes"):
        read_frames(path, [0, 20])


def test_a_joined_transport_stream(tmp_path):
    one = write_video(tmp_path / "one.ts", 12).read_bytes()
    path = tmp_path / "two.ts"
    path.write_bytes(one + one)
    assert [number_in(frame) for frame in read_frames(path, range(24))] == [*range(12), *range(12)]


def test_a_header_that_asks_for_gigabytes(tmp_path, monkeypatch, video):
    monkeypatch.setattr("mvit_edu.data.packets.LARGEST_PICTURE", 96 * 64 - 1)
    with pytest.raises(VideoError, match="96x64 pixels are too large"):
        read_frames(video, [0])


def test_bad_arguments(video):
    with pytest.raises(VideoError, match=f"no frame {FRAMES}; the video has {FRAMES} frames"):
        read_frames(video, [0, FRAMES])
    with pytest.raises(VideoError, match="no frame at 2.100 s; it lasts 2.000 s"):
        read_frames(video, times=[2.1])
    with pytest.raises(ValueError, match="got index -1"):
        read_frames(video, [-1])
    with pytest.raises(ValueError, match="empty"):
        read_frames(video, [])
    with pytest.raises(TypeError, match="whole numbers"):
        read_frames(video, [0.5])
    with pytest.raises(TypeError, match="whole numbers"):
        read_frames(video, 3)
    for times in ([], [-0.1], [float("nan")]):
        with pytest.raises(ValueError, match="times must be"):
            read_frames(video, times=times)
    with pytest.raises(TypeError, match="either by number or by time"):
        read_frames(video)
    with pytest.raises(TypeError, match="either by number or by time"):
        read_frames(video, [0], times=[0.0])
    with pytest.raises(ValueError, match="threads=-1"):
        read_frames(video, [0], threads=-1)


def test_no_file_stays_open(tmp_path, video):
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("open files can be counted on Linux only")
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(video.read_bytes()[:900])
    read_frames(video, [0])
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        read_frames(video, [3, 50])
        with pytest.raises(VideoError):
            read_frames(bad, [0])
        with pytest.raises(VideoError):
            read_frames(video, [1000])
    assert len(os.listdir("/proc/self/fd")) <= before


def test_info(video):
    info = video_info(video)
    assert (info.frames, info.fps, info.height, info.width, info.seconds) == (FRAMES, 30.0, 64, 96, 2.0)
    assert (info.codec, info.rotation, info.key_frames, info.key_frame_distance) == ("h264", 0, (0, 12, 24, 36, 48), 12)


def test_painted_numbers_can_be_told_apart():
    assert [number_in(painted(number)) for number in (0, 1, 59, 4095)] == [0, 1, 59, 4095]
