"""The picture of a prediction: the right frames, the right bars, and a file that is whole or not there."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from mvit_edu.visualize import draw_prediction, save_figure, set_style
from mvit_edu.visualize.prediction import format_percent
from mvit_edu.visualize.style import BLUE, GRAY, GREEN

NAMES = ["abseiling", "sanding floor", "juggling", "a $b$ c", "archery", "left", "right"]
SCORES = [0.0002, 0.12, 0.71, 0.05, 0.05, 0.04, 0.0298]


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context({"backend": "agg"}):
        set_style()
        yield
    plt.close("all")


def clip(count, height=32, width=32) -> np.ndarray:
    """Frames that tell their number: frame t is filled with t."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None, None], (count, height, width, 3)).copy()


def shown_frames(figure) -> list[int]:
    return [int(ax.images[0].get_array()[0, 0, 0]) for ax in figure.axes if ax.images]


def bars(figure) -> list[tuple[str, float, str, str]]:
    """(name above a bar, its length, the text behind it, its color), from top to bottom."""
    ax = figure.axes[-1]
    names, values = ([text.get_text() for text in ax.texts[first::2]] for first in (0, 1))
    lengths = [bar.get_width() for bar in ax.patches]
    colors = [mpl.colors.to_hex(bar.get_facecolor()).upper() for bar in ax.patches]
    assert np.all(np.diff([bar.get_y() for bar in ax.patches]) > 0) and ax.yaxis_inverted()
    return list(zip(names, lengths, values, colors, strict=True))


def test_best_classes_as_bars():
    figure = draw_prediction(clip(8), NAMES, SCORES, title="a $1$ video.mp4")
    assert bars(figure) == [
        ("1. juggling", 71.0, "71.0%", BLUE),
        ("2. sanding floor", 12.0, "12.0%", GRAY),
        ("3. a $b$ c", 5.0, "5.0%", GRAY),  # equal scores in the order of the classes
        ("4. archery", 5.0, "5.0%", GRAY),
        ("5. left", 4.0, "4.0%", GRAY),
    ]
    assert figure.get_suptitle() == "a $1$ video.mp4"
    left, right = figure.axes[-1].get_xlim()
    assert left == 0 and right > 100
    figure.canvas.draw()
    for text in figure.findobj(mpl.text.Text):
        assert text.get_window_extent().x1 <= figure.bbox.x1 + 1
    dollars = [text for text in figure.findobj(mpl.text.Text) if "$" in text.get_text()]
    assert len(dollars) == 2 and not any(text.get_parse_math() for text in dollars)


def test_the_truth_is_marked():
    hit = bars(draw_prediction(clip(1), NAMES, SCORES, truth="juggling"))
    assert hit[0] == ("1. juggling (true class)", 71.0, "71.0%", GREEN) and len(hit) == 5
    near = bars(draw_prediction(clip(1), NAMES, SCORES, truth="sanding floor"))
    assert [bar[3] for bar in near] == [BLUE, GREEN, GRAY, GRAY, GRAY]
    far = bars(draw_prediction(clip(1), NAMES, SCORES, truth="abseiling", best=3))
    assert len(far) == 4 and far[-1] == ("7. abseiling (true class)", 0.02, "<0.1%", GREEN)


def test_fewer_classes_than_bars():
    assert len(bars(draw_prediction(clip(1), ["no", "yes"], [0.25, 0.75]))) == 2


@pytest.mark.parametrize(
    "count, expected",
    [(1, [0]), (3, [0, 1, 2]), (5, [0, 1, 2, 3, 4]), (8, list(range(8))), (16, [1, 3, 5, 7, 9, 11, 13, 15])],
)
def test_frames_are_spread_evenly(count, expected):
    figure = draw_prediction(clip(count), NAMES, SCORES)
    assert shown_frames(figure) == expected
    titles = [ax.get_title() for ax in figure.axes if ax.images]
    assert titles == [f"frame {number}" for number in expected]


@pytest.mark.parametrize("height, width", [(32, 32), (180, 320), (320, 180)])
def test_frames_keep_their_shape_and_order(height, width):
    figure = draw_prediction(clip(8, height, width), NAMES, SCORES)
    figure.canvas.draw()
    places = [ax.images[0].get_window_extent() for ax in figure.axes if ax.images]
    for place in places:
        assert place.height / place.width == pytest.approx(height / width, rel=0.03)
        assert place.width > 60
    order = sorted(range(8), key=lambda number: (-round(places[number].y0), places[number].x0))
    assert order == list(range(8))
    assert min(place.y0 for place in places) > figure.axes[-1].get_window_extent().y1 - 1


def test_small_frames_stay_sharp(tmp_path):
    frame = np.zeros((1, 8, 8, 3), np.uint8)
    frame[0, ::2, 1::2] = frame[0, 1::2, ::2] = 255  # a chessboard: smoothing would bring grays
    figure = draw_prediction(frame, NAMES, SCORES)
    picture = np.asarray(Image.open(save_figure(figure, tmp_path / "board.png")).convert("L"))
    box = figure.axes[0].images[0].get_window_extent()
    inside = picture[int(len(picture) - box.y1) + 2 : int(len(picture) - box.y0) - 2, int(box.x0) + 2 : int(box.x1) - 2]
    assert inside.size > 10_000
    assert set(np.unique(inside)) == {0, 255}


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"scores": [2.0, -1.0]}, "Scores are shares from 0 to 1; got -1 to 2. For logits, take the softmax first"),
        ({"scores": [np.nan, 0.5]}, "Scores are shares"),
        ({"scores": [[0.5, 0.5]]}, r"2 names for scores of shape \(1, 2\)"),
        ({"scores": [1.0]}, r"2 names for scores of shape \(1,\)"),
        ({"truth": "maybe"}, "truth is 'maybe', which is none of the 2 names"),
        ({"best": 0}, "best is 0; show at least 1 class"),
        ({"frames": clip(2).astype(float)}, r"Frames are a uint8 array \(T, H, W, 3\)"),
        ({"frames": clip(2)[:0]}, "Frames are a uint8 array"),
    ],
)
def test_wrong_input(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw_prediction(**{"frames": clip(2), "names": ["no", "yes"], "scores": [0.25, 0.75], **changes})


def test_percentages_do_not_lie():
    shares = (0, 0.0004, 0.0006, 0.5, 0.9994, 0.9996, 1.0)
    assert [format_percent(share) for share in shares] == [
        "0.0%",
        "<0.1%",
        "0.1%",
        "50.0%",
        "99.9%",
        ">99.9%",
        "100.0%",
    ]


def test_save_replaces_a_file_as_a_whole(tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    figure = plt.figure(figsize=(2, 1))

    def torn(file, **options):
        file.write_bytes(b"half")
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(figure, "savefig", torn)
        with pytest.raises(OSError, match="disk full"):
            save_figure(figure, path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    written, savefig = [], figure.savefig
    monkeypatch.setattr(figure, "savefig", lambda file, **options: (written.append(file), savefig(file, **options)))
    assert save_figure(figure, str(path)) == path
    assert len(written) == 1 and written[0] != path and written[0].parent == tmp_path
    assert Image.open(path).size == (200, 100) and list(tmp_path.iterdir()) == [path]


def test_save_in_a_wrong_place(tmp_path):
    figure = plt.figure()
    with pytest.raises(ValueError, match=r"out\.jpg: figures are written as PNG; give a name that ends in \.png"):
        save_figure(figure, tmp_path / "out.jpg")
    with pytest.raises(ValueError, match="there is no folder .*missing; make it first"):
        save_figure(figure, tmp_path / "missing" / "out.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ValueError, match="this is a folder"):
        save_figure(figure, tmp_path / "folder.png")
