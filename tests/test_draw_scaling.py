"""The picture of Chapter 9's cost model: what is drawn is what the rows say, and the texts do not touch."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from mvit_edu.visualize import draw_scaling, set_style
from tests.test_curves import assert_texts_apart, texts


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context({"backend": "agg"}):
        set_style()
        yield
    plt.close("all")


def predicted(exposed=0.002, waiting=0.001, devices=(1, 2, 4, 8, 16, 32, 64, 128)) -> list[dict]:
    """The all-reduce grows with the devices; only 8 of them wait for clips, unless all do."""
    rows = []
    for number in devices:
        row = {"devices": number, "compute": 0.015, "exposed": exposed * np.log2(number)}
        row["waiting"] = waiting if number == 8 else 0.0
        rows.append({**row, "efficiency": 0.015 / sum((row["compute"], row["exposed"], row["waiting"]))})
    return rows


def measured(speed: float) -> list[dict]:
    rows = []
    for number, ratio in ((1, 1.0), (2, 1.8), (4, 1.6)):
        row = {"devices": number, "measured": speed * ratio, "predicted": speed * min(number, 2)}
        rows.append({**row, "low": speed * ratio * 0.9, "high": speed * ratio * 1.05})
    return rows


def test_bars_stack_to_the_step():
    rows = predicted()
    figure = draw_scaling({"4 clips": rows})
    above, below = figure.axes
    compute, exposed, waiting = (list(bars) for bars in above.containers)
    for row, *bars in zip(rows, compute, exposed, waiting, strict=True):
        assert [bar.get_height() for bar in bars] == pytest.approx(
            [1e3 * row[part] for part in ("compute", "exposed", "waiting")]
        )
        assert bars[2].get_y() == pytest.approx(1e3 * (row["compute"] + row["exposed"]))
    assert [text.get_text() for text in above.get_xticklabels()] == ["1", "2", "4", "8", "16", "32", "64", "128"]
    np.testing.assert_allclose(below.lines[0].get_ydata(), [100 * row["efficiency"] for row in rows])
    assert above.get_title(loc="left") == "a training step (ms)"
    assert texts(figure) == ["waiting for clips", "compute", "all-reduce that is not hidden", "52%"]
    assert_texts_apart(figure)


def test_a_part_that_the_last_bar_lacks_is_named_where_it_is():
    figure = draw_scaling({"": predicted()})
    (name,) = [text for text in figure.axes[0].texts if text.get_text() == "waiting for clips"]
    assert name.xy == pytest.approx((3.35, 15 + 6 + 1))  # the bar of 8 devices
    figure = draw_scaling({"": predicted(waiting=0.0)})
    assert "waiting for clips" not in texts(figure)


def test_predictions_and_measurements_together():
    predictions = {"4 clips": predicted(), "16 clips": predicted(0.0005), "twice the cores": predicted(0.001, 0.0)}
    figure = draw_scaling(predictions, {"mvit_tiny": measured(90.0), "chapter": measured(500.0)}, title="MViT-B")
    assert figure.axes[0].get_title(loc="left") == "MViT-B (ms), 4 clips"
    assert {"4 clips 52%", "16 clips 81%", "twice the cores 68%", "mvit_tiny", "chapter"} <= set(texts(figure))
    circles, dots = figure.axes[2].lines[:2]
    np.testing.assert_allclose(circles.get_ydata(), [1, 2, 2])
    np.testing.assert_allclose(dots.get_ydata(), [1, 1.8, 1.6])
    lines = figure.axes[2].collections[0].get_segments()
    np.testing.assert_allclose([segment[:, 1] for segment in lines], [[0.9, 1.05], [1.62, 1.89], [1.44, 1.68]])
    assert_texts_apart(figure)


def test_rows_that_cannot_be_drawn():
    with pytest.raises(ValueError, match="There are 0 curves; a figure tells 1 to 7 apart"):
        draw_scaling({})
    with pytest.raises(ValueError, match="'a' needs at least two rows with growing numbers of devices; it has"):
        draw_scaling({"a": predicted(devices=(2, 1))})
    with pytest.raises(ValueError, match="A row of 'b' has no number 'efficiency'; it needs devices, compute"):
        draw_scaling({"b": [{**row, "efficiency": None} for row in predicted()]})
    with pytest.raises(ValueError, match="A row of 'c' has no number 'low'"):
        draw_scaling({"a": predicted()}, {"c": [{"devices": 1, "predicted": 1.0, "measured": 1.0}] * 2})
