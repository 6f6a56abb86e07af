"""The line of time: ticks at the frames of the file, dots at the frames that a sampler takes."""

from __future__ import annotations

import io

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from mvit_edu.data import example_clip, video_info
from mvit_edu.data.sampling import ClipSpec
from mvit_edu.visualize import draw_lanes, draw_timeline
from mvit_edu.visualize.style import palette_png


@pytest.fixture(autouse=True)
def headless():
    with mpl.rc_context({"backend": "agg"}):
        yield
    plt.close("all")


def dots(ax) -> list[np.ndarray]:
    return [np.asarray(line.get_xdata()) for line in ax.lines if line.get_marker() == "o"]


def test_dots_stand_on_frames():
    times = np.array([0.0, 0.1, 0.2, 0.5, 0.6])  # of a variable rate
    ax = draw_lanes(plt.figure().add_subplot(), times, (0, 3), {"one": np.array([0.0, 0.15, 0.49, 0.55])})
    assert dots(ax)[0].tolist() == [0.0, 0.1, 0.2, 0.5]


def test_key_frames_are_told_apart():
    times = np.arange(10) / 10
    ax = draw_lanes(plt.figure().add_subplot(), times, (0, 4), {"one": times})
    others, keys = ([segment[0][0] for segment in lines.get_segments()] for lines in ax.collections)
    assert keys == [0.0, 0.4]
    assert len(others) == 8 and not set(others) & set(keys)


def test_a_lane_for_each_sampler_and_a_line_for_each_view():
    info = video_info(example_clip())
    lanes = {"five": ClipSpec().views(info, 5), "one": ClipSpec(sampling="segments").views(info)}
    figure = draw_timeline(example_clip(), lanes, pictures=4)
    strip, below = figure.axes
    assert strip.images[0].get_array().shape == (256, 4 * 320, 3)
    assert len(dots(below)) == 6
    assert {"five", "one"} <= {text.get_text() for text in below.texts}
    for found, asked in zip(dots(below), lanes["five"], strict=False):
        assert np.abs(found - asked).max() < 1 / 30


def test_a_palette_keeps_the_picture_and_saves_bytes():
    figure, ax = plt.subplots()
    ax.plot([0, 1, 0.5], color="#0072B2")
    plain = io.BytesIO()
    figure.savefig(plain, format="png", bbox_inches="tight")
    small = palette_png(figure)
    before, after = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), int) for data in (plain.getvalue(), small))
    assert before.shape == after.shape
    assert np.abs(before - after).mean() < 1
    assert len(small) < len(plain.getvalue())
