"""The pictures: a video that can be read back, and drawings whose sizes are those of the table."""

from __future__ import annotations

import base64
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

import mvit_edu
from mvit_edu import visualize
from mvit_edu.data import example_clip, read_frames, video_info
from mvit_edu.visualize import (
    cost_bars,
    draw_grid,
    draw_window,
    encode_mp4,
    film_strip,
    set_style,
    show_video,
    stage_pyramid,
)

TABLES = {name: mvit_edu.stage_table(mvit_edu.get_config(name)) for name in ("mvit_b_16x4", "vit_b_8x8", "mvit_tiny")}


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context({"backend": "agg"}):
        set_style()
        yield
    plt.close("all")


@pytest.fixture
def frames():
    return read_frames(example_clip(), range(0, 60, 5))


def test_encoded_video_reads_back(tmp_path, frames):
    path = tmp_path / "out.mp4"
    path.write_bytes(encode_mp4(frames, fps=12.5, crf=10))
    info = video_info(path)
    assert (info.frames, info.fps, info.height, info.width) == (12, 12.5, 256, 320)
    error = np.abs(read_frames(path, range(12)).astype(int) - frames)
    assert error.mean() < 4
    assert encode_mp4(frames, fps=12.5, crf=10) == path.read_bytes()


def test_encoded_video_of_odd_size(tmp_path, frames):
    path = tmp_path / "odd.mp4"
    path.write_bytes(encode_mp4(frames[:3, :33, :47]))
    info = video_info(path)
    assert (info.frames, info.height, info.width) == (3, 34, 48)


@pytest.mark.parametrize("wrong", [np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8)])
def test_frames_of_a_wrong_kind(wrong):
    with pytest.raises(ValueError, match="uint8 array"):
        encode_mp4(wrong)
    with pytest.raises(ValueError, match="uint8 array"):
        film_strip(wrong)


def test_player(frames):
    page = show_video(frames, alt='a "cup" & spoon').data
    assert 'aria-label="a &quot;cup&quot; &amp; spoon"' in page and "autoplay" not in page
    for word in ("controls", "muted", "loop", "playsinline"):
        assert f" {word} " in page
    video = video_bytes_in(page)
    assert video == encode_mp4(frames)
    still = base64.b64decode(re.search(r"poster=\"data:image/jpeg;base64,([^\"]+)", page)[1])
    assert still.startswith(b"\xff\xd8")
    assert video_bytes_in(show_video(video, alt="x").data) == video
    assert video_bytes_in(show_video(example_clip(), alt="x").data) == example_clip().read_bytes()


def video_bytes_in(page: str) -> bytes:
    return base64.b64decode(re.search(r"data:video/mp4;base64,([^\"]+)", page)[1])


def test_film_strip(frames):
    figure = film_strip(frames, [0, 4, 8, 9, 11], columns=3)
    shown = [ax for ax in figure.axes if ax.images]
    assert len(figure.axes) == 6 and len(shown) == 5
    assert np.array_equal(shown[1].images[0].get_array(), frames[4])
    assert shown[1].get_title() == "frame 4"
    with pytest.raises(ValueError, match="1 labels for 12 frames"):
        film_strip(frames, labels=["a"])


def test_grid(frames):
    ax = plt.subplots()[1]
    assert draw_grid(ax, frames[0], 32, highlight=[(2, 3)]) == (8, 10)
    box = ax.patches[0]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (96, 64, 32, 32)
    assert draw_grid(None, frames[0], (100, 50)) == (2, 6)
    with pytest.raises(ValueError, match="holds no patch of 300x300"):
        draw_grid(None, frames[0], 300)


def test_window(frames):
    ax = plt.subplots()[1]
    assert draw_window(ax, (6, 7), (3, 3), (2, 2), outputs=[(1, 2)]) == (3, 4)
    assert ax.lines[0].get_xydata().tolist() == [[4.5, 2.5]]  # 2 * 2 - 1 + 3 / 2 and 2 * 1 - 1 + 3 / 2
    assert draw_window(None, (8, 10), (2, 2), (2, 2), image=frames[0]) == (4, 5)
    with pytest.raises(ValueError, match=r"no output \(3, 0\) in a pooled grid of 3x4"):
        draw_window(None, (6, 7), (3, 3), (2, 2), outputs=[(3, 0)])


@pytest.mark.parametrize("name", TABLES)
def test_pyramid_is_to_scale(name):
    table = TABLES[name]
    ax = stage_pyramid(table)
    ax.figure.canvas.draw()
    fronts = [patch.get_xy() for patch in ax.patches[1::6]]  # front, top, end; each over a white one
    assert len(fronts) == len(table.stages)
    for corners, stage in zip(fronts, table.stages, strict=True):
        length, height = np.ptp(corners, axis=0)
        t, h, w = stage.thw
        assert height**2 == pytest.approx(t * h * w)
        assert length / visualize.stages.CHANNEL == pytest.approx(stage.dim)
    texts = " ".join(text.get_text() for text in ax.texts)
    assert f"{table.stages[-1].dim} channels" in texts and "scale2" in texts


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("what", ["macs", "params", "activations"])
def test_cost_bars(name, what):
    table = TABLES[name]
    ax = cost_bars(table, what=what)
    ax.figure.canvas.draw()
    unit = visualize.stages.COSTS[what][1]
    assert [bar.get_height() for bar in ax.patches] == [getattr(row, what) / unit for row in table.rows]
    assert len(ax.texts) == len(table.stages)


def test_cost_bars_share_and_tokens():
    table = TABLES["mvit_b_16x4"]
    assert [text.get_text() for text in cost_bars(table).texts] == [
        "scale2\n9%",
        "scale3\n20%",
        "scale4\n59%",
        "scale5\n13%",
    ]
    ax = cost_bars(table, what="tokens")
    ax.figure.canvas.draw()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["393", "1,569", "6,273", "25,089"]
    with pytest.raises(ValueError, match="what is 'flops'; use one of macs, params"):
        cost_bars(table, what="flops")
