"""Pictures of training: what is drawn is what the numbers say, and the texts do not touch."""

from __future__ import annotations

import json
from itertools import combinations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from mvit_edu.visualize import compare_runs, draw_run, draw_schedule, read_rows, set_style
from mvit_edu.visualize.labels import format_rate, spread
from mvit_edu.visualize.rows import common_axis, running_mean


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context({"backend": "agg"}):
        set_style()
        yield
    plt.close("all")


def texts(figure) -> list[str]:
    return [" ".join(text.get_text().split()) for ax in figure.axes for text in ax.texts]


def run(steps=200, speed=50.0, best=0.95, every=20, last=None) -> list[dict]:
    """Rows of a run whose loss and accuracy are known at every step; 40 steps an epoch."""
    rows = []
    for step in range(1, (last or steps) + 1):
        row = {"kind": "train", "step": step, "epoch": step / 40, "lr": 1e-3 * (1 - step / steps)}
        rows.append({**row, "loss": 0.1 + 2 * np.exp(-step / speed), "clips_per_second": 80.0, "wait": 0.1})
        if step % every == 0:
            top1 = best * (1 - np.exp(-step / speed))
            rows.append(
                {"kind": "validation", "step": step, "epoch": step / 40, "top1": top1, "top5": 1.0, "loss": 1.5}
            )
    return rows


def assert_texts_apart(figure) -> None:
    """No text touches another one or leaves the figure."""
    figure.canvas.draw()
    shown = []
    for ax in figure.axes:
        shown += [*ax.texts, ax._left_title, ax.xaxis.label]
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            ticks = [tick for tick in axis.get_major_ticks() if limits[0] <= tick.get_loc() <= limits[1]]
            shown += [tick.label1 for tick in ticks if tick.label1.get_visible()]
    boxes = [(text.get_text(), mpl.text.Text.get_window_extent(text)) for text in shown if text.get_text()]
    assert len(boxes) > 5
    for (one, a), (two, b) in combinations(boxes, 2):
        width = min(a.x1, b.x1) - max(a.x0, b.x0)
        height = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert width <= 1 or height <= 1, f"{one!r} and {two!r} touch"
    for text, box in boxes:
        assert box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1, f"{text!r} leaves the figure"


# The schedule


def schedule(warmup=30, epochs=200, peak=1.6e-3, end=1.6e-5):
    x = np.linspace(0, epochs, 401)
    cosine = end + (peak - end) * (1 + np.cos(np.pi * (x - warmup) / (epochs - warmup))) / 2
    return x, np.where(x < warmup, end + (peak - end) * x / max(warmup, 1), cosine)


def test_schedule_names_peak_end_and_warmup():
    x, rates = schedule()
    figure = draw_schedule(x, rates, 30)
    assert texts(figure) == ["peak 1.6e-3", "end 1.6e-5", "← warm-up, 30 epochs"]
    (ax,) = figure.axes
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), np.stack([x, rates], axis=1))
    np.testing.assert_allclose(ax.lines[1].get_xydata(), [[30, 1.6e-3], [200, 1.6e-5]])  # the two dots
    band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    np.testing.assert_allclose([band.x0, band.x1], [0, 30], atol=1e-9)
    assert ax.get_xlim() == (0, 200) and ax.get_ylim()[0] == 0 and ax.get_xlabel() == "epoch"
    assert ax.get_yticks()[-1] == 1.5e-3  # none above the curve
    assert_texts_apart(figure)


def test_schedule_without_warmup_draws_no_band():
    figure = draw_schedule(*schedule(warmup=0))
    assert not figure.axes[0].patches
    assert texts(figure) == ["peak 1.6e-3", "end 1.6e-5"]


def test_schedules_are_tied_to_their_names():
    x, code = schedule()
    paper = 1.6e-5 + (1.6e-3 - 1.6e-5) * (1 + np.cos(np.pi * x / 200)) / 2
    curves = {"paper's formula": paper, "released code": code, "a $ll$ line": 1.6e-3 * (1 - x / 200)}
    figure = draw_schedule(x, paper, 30, {name: curves[name] for name in list(curves)[1:]}, name="paper's formula")
    (ax,) = figure.axes
    named = {text.get_text(): text for text in ax.texts if text.get_text() in curves}
    assert named.keys() == curves.keys()
    colors = set()
    for name, text in named.items():
        at, rate = text.xy
        (index,) = np.flatnonzero(x == at)
        assert rate == curves[name][index]
        assert min(abs(curves[other][index] - rate) for other in curves if other != name) > 5e-5
        (line,) = [line for line in ax.lines if np.array_equal(line.get_ydata(), curves[name])]
        assert mpl.colors.same_color(text.arrow_patch.get_edgecolor(), line.get_color())
        colors.add(line.get_color())
    assert len(colors) == 3
    assert ax.get_ylim()[1] > 1.6e-3 * 1.3  # room for the names above the curves
    assert_texts_apart(figure)


@pytest.mark.parametrize("length, expected", [(2, "warm-up, 2 epochs →"), (1, "← warm-up, 1 epoch")])
def test_warmup_of_any_length(length, expected):
    figure = draw_schedule([0, 1, 2], [0.02, 0.02, 0.02], length)
    assert texts(figure) == ["peak 0.02", "end 0.02", expected]
    assert_texts_apart(figure)
    (ax,) = figure.axes
    assert ax.texts[0].get_window_extent().x0 >= ax.bbox.x0  # the peak is the first point


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (([0, 1], [1.0]), r"rates must be 2 numbers from 0 up, one for each epoch; got shape \(1,\)"),
        (([0, 1], [1.0, np.nan]), "rates must be 2 numbers"),
        (([1, 0], [1.0, 1.0]), "at least two growing numbers"),
        (([0, 1], [1.0, 1.0], 5), "warmup_epochs is 5, but the epochs end at 1"),
        (([0, 1], [1.0, 1.0], 0, {"code": [1.0]}), "rates of 'code' must be 2 numbers"),
        (([0, 1], [1.0, 1.0], 0, {"": [1.0, 1.0]}), "none named ''"),
    ],
)
def test_wrong_schedules(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw_schedule(*arguments)


@pytest.mark.parametrize(
    "rate, top, text",
    [(1.6e-3, None, "1.6e-3"), (0, 1, "0"), (0.6, None, "0.6"), (0.005, 0.02, "0.005"), (1e-6, 0.6, "1e-6")],
)
def test_rates_are_written_as_in_papers(rate, top, text):
    assert format_rate(rate, top) == text


# One run


def test_run_draws_what_was_logged():
    rows = run()
    figure = draw_run(rows, chance=1 / 8)
    loss, accuracy, rate = figure.axes
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["loss", "top-1 accuracy (%)", "learning rate"]
    assert rate.get_xlabel() == "epoch"
    training = [row for row in rows if row["kind"] == "train"]
    validation = [row for row in rows if row["kind"] == "validation"]
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [row["loss"] for row in training])
    np.testing.assert_allclose(loss.lines[0].get_xdata(), [row["epoch"] for row in training])
    np.testing.assert_allclose(accuracy.lines[0].get_ydata(), [100 * row["top1"] for row in validation])
    np.testing.assert_allclose(rate.lines[0].get_ydata(), [row["lr"] for row in training])
    assert accuracy.get_ylim() == (0, 100) and loss.get_ylim()[0] == 0
    assert accuracy.lines[1].get_ydata()[0] == 12.5
    assert sorted(texts(figure)) == [f"{100 * validation[-1]['top1']:.1f}%", "chance 12.5%", "training", "validation"]
    assert_texts_apart(figure)


def test_run_of_another_accuracy():
    figure = draw_run(run(), accuracy="top5")
    assert figure.axes[1].get_title(loc="left") == "top-5 accuracy (%)"
    assert figure.axes[1].lines[0].get_ydata()[-1] == 100
    with pytest.raises(ValueError, match="no validation row has a number 'top3'; there is loss, top1, top5"):
        draw_run(run(), accuracy="top3")


def test_panels_without_numbers_are_left_out():
    training = [row for row in run() if row["kind"] == "train"]
    assert [ax.get_title(loc="left") for ax in draw_run(training).axes] == ["loss", "learning rate"]
    bare = [{"kind": "validation", "step": 5, "top1": 0.5, "loss": None}]
    assert [ax.get_title(loc="left") for ax in draw_run(bare).axes] == ["top-1 accuracy (%)"]
    with pytest.raises(ValueError, match="Nothing to draw: 1 rows, none of kind train or validation"):
        draw_run([{"kind": "start", "step": 0}])


def test_a_loss_that_is_no_number_is_a_gap():
    rows = [
        {"kind": "train", "step": step, "loss": loss, "lr": 0.1} for step, loss in enumerate([2.0, float("nan"), 1.0])
    ]
    line = draw_run(rows).axes[0].lines[0]
    assert line.get_xydata().tolist() == [[0, 2], [2, 1]]


def test_shares_that_are_no_shares():
    percent = [{**row, "top1": 96.0} if row["kind"] == "validation" else row for row in run()]
    with pytest.raises(ValueError, match="top1 is a share from 0 to 1; the rows hold 96 to 96"):
        draw_run(percent)
    with pytest.raises(ValueError, match="chance is a share from 0 to 1; got 12.5"):
        draw_run(run(), chance=12.5)


def test_steps_where_epochs_are_whole():
    fine, coarse = run(), [{**row, "epoch": int(row["epoch"])} for row in run()]
    assert common_axis([fine]) == "epoch"
    assert common_axis([coarse]) == common_axis([fine, coarse]) == "step"
    assert draw_run(coarse).axes[0].lines[0].get_xdata().tolist() == list(range(1, 201))


def test_a_step_logged_twice_counts_once():
    rows = run(last=50) + [{"kind": "train", "step": 40, "epoch": 1.0, "lr": 0.5, "loss": 9.0}]
    line = draw_run(rows).axes[-1].lines[0]
    assert len(line.get_xdata()) == 50
    assert line.get_ydata()[39] == 0.5
    backwards = draw_run(rows[:50][::-1]).axes[-1].lines[0]
    assert np.all(np.diff(backwards.get_xdata()) > 0)
    with pytest.raises(ValueError, match="A train row needs a whole number as its step"):
        draw_run([{"kind": "train", "loss": 1.0}])


def test_running_mean():
    values = np.array([9.0, 3.0, 0.0, 6.0, 0.0])
    np.testing.assert_allclose(running_mean(values, 3), [9, 4, 3, 2, 3])
    np.testing.assert_allclose(running_mean(values, 1), values)


# Several runs


def test_compared_runs_have_their_names_at_their_ends():
    runs = {"full recipe": run(), "without warm-up": run(best=0.9), "stopped": run(last=80)}
    figure = compare_runs(runs, chance=1 / 8)
    loss, accuracy = figure.axes
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["training loss", "top-1 accuracy (%)"]
    for ax, key, kind in ((loss, "loss", "train"), (accuracy, "top1", "validation")):
        for name, rows in runs.items():
            (label,) = [text for text in ax.texts if text.get_text().startswith(name)]
            last = [row for row in rows if row["kind"] == kind][-1]
            assert label.xy[0] == last["epoch"]
            if key == "top1":
                assert label.xy[1] == pytest.approx(100 * last[key])
                assert f"{100 * last[key]:.1f}%" in label.get_text()
    assert_texts_apart(figure)


def test_seven_runs_that_end_together():
    figure = compare_runs({f"without part number {i} of it": run(best=0.95 - i / 1000) for i in range(7)}, chance=1 / 8)
    assert len({line.get_color() for line in figure.axes[0].lines}) == 7
    assert_texts_apart(figure)


def test_a_run_that_breaks_loose_leaves_the_others_readable():
    loose = [{**row, "loss": 50.0} if row["kind"] == "train" and row["step"] > 9 else row for row in run()]
    above = compare_runs({"good": run(), "loose": loose}).axes[0]
    assert 2 < above.get_ylim()[1] < 5
    assert [text.get_text() for text in above.texts] == ["good", "loose ↑"]


def test_runs_that_cannot_be_compared():
    with pytest.raises(ValueError, match="There are 8 runs; a figure tells 1 to 7 apart"):
        compare_runs({str(i): run() for i in range(8)})
    with pytest.raises(ValueError, match="There are 0 runs"):
        compare_runs({})
    with pytest.raises(ValueError, match="The run 'b' has no training row with a loss"):
        compare_runs({"a": run(), "b": [row for row in run() if row["kind"] == "validation"]})
    with pytest.raises(ValueError, match="The run 'b': no validation row has a number 'top1'; there is none"):
        compare_runs({"a": run(), "b": [row for row in run() if row["kind"] == "train"]})


def test_spread_keeps_places_and_order():
    assert spread([0.1, 0.5, 0.9], [0.1] * 3) == [0.1, 0.5, 0.9]
    np.testing.assert_allclose(spread([0.5, 0.5], [0.2, 0.4]), [0.5, 0.8])
    np.testing.assert_allclose(spread([0.9, 0.95, 1.0], [0.2] * 3), [0.6, 0.8, 1.0])


# The log


def test_rows_of_a_killed_run(tmp_path):
    path, rows = tmp_path / "metrics.jsonl", run(last=3)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text + '{"kind": "train", "st', encoding="utf-8")
    assert read_rows(path) == rows
    path.write_bytes(text.encode() + '{"kind": "trän'.encode()[:-2])  # cut within a letter
    assert read_rows(path) == rows
    path.write_text(text[:-1], encoding="utf-8")  # all but the line break: nothing is lost
    assert read_rows(path) == rows
    path.write_text("")
    assert read_rows(path) == []


@pytest.mark.parametrize("bad", ['{"kind": "tra', "[1, 2]", "3", "epoch 4"])
def test_another_bad_line_is_named(tmp_path, bad):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"kind": "train", "step": 1}}\n\n{bad}\n{{"kind": "train", "step": 2}}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 3: ") as caught:
        read_rows(path)
    assert "\n" not in str(caught.value)
    path.write_text(f'{{"kind": "train", "step": 1}}\n\n{bad}\n')  # the last line, but whole
    with pytest.raises(ValueError, match="line 3"):
        read_rows(path)


def test_no_log(tmp_path):
    with pytest.raises(ValueError, match="there is no such run log"):
        read_rows(tmp_path / "none.jsonl")
