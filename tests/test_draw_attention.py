"""Pictures of attention: what is drawn is what the numbers say, and the texts do not touch."""

from __future__ import annotations

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from mvit_edu.visualize import draw_attention_distance, draw_heat_maps, set_style
from tests.test_curves import assert_texts_apart


@pytest.fixture(autouse=True)
def style():
    with mpl.rc_context({"backend": "agg"}):
        set_style()
        yield
    plt.close("all")


def a_clip(frames=8, height=12, width=16):
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def test_heat_maps_show_frames_and_rows():
    frames = a_clip()
    heat = np.random.default_rng(1).random((8, 12, 16))
    figure = draw_heat_maps(frames, {"one": heat, "none at all": 0 * heat}, indices=[1, 6])
    axes = np.array(figure.axes).reshape(3, 2)
    assert [row[0].get_title(loc="left") for row in axes] == ["frames", "one", "none at all"]
    assert [ax.get_title(loc="right") for ax in axes[0]] == ["t = 1", "t = 6"]
    for column, index in enumerate((1, 6)):
        np.testing.assert_array_equal(axes[0, column].images[0].get_array(), frames[index])
        gray, over = axes[1, column].images
        np.testing.assert_allclose(gray.get_array(), frames[index] @ [0.30, 0.59, 0.11], rtol=1e-5)
        np.testing.assert_allclose(over.get_array(), heat[index] / heat.max(), rtol=1e-5)  # one scale for the row
        assert over.get_clim()[0] == 0
        assert not axes[2, column].images[1].get_array().any()


def test_heat_maps_choose_frames():
    titles = [ax.get_title(loc="right") for ax in draw_heat_maps(a_clip(), {}).axes]
    assert titles == ["t = 0", "t = 2", "t = 5", "t = 7"]
    figure = draw_heat_maps(a_clip(2), {"a": np.ones((2, 12, 16))}, show_frames=False)
    assert len(figure.axes) == 2 and figure.axes[0].get_title(loc="left") == "a"


def test_heat_maps_that_cannot_be_drawn():
    frames = a_clip()
    with pytest.raises(ValueError, match=r"The map 'a' has shape \(8, 12, 15\); these frames want \(8, 12, 16\)"):
        draw_heat_maps(frames, {"a": np.ones((8, 12, 15))})
    for value in (-1.0, np.nan):
        with pytest.raises(ValueError, match="'a' has values that are below zero or not finite"):
            draw_heat_maps(frames, {"a": np.full((8, 12, 16), value)})
    with pytest.raises(ValueError, match="uint8 array"):
        draw_heat_maps(frames / 255, {})
    for indices in ([], [0, 9]):
        with pytest.raises(ValueError, match="cannot be drawn; choose some of 0 to 7"):
            draw_heat_maps(frames, {}, indices=indices)
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_heat_maps(frames, {}, show_frames=False)


def rows(blocks=4, heads=2, clip=(8, 16, 24), factor=1.0):
    random = np.random.default_rng(blocks)
    return [
        {
            "block": block,
            "space": (factor * (8 + random.random(heads))).tolist(),
            "time": (factor * (2 + random.random(heads))).tolist(),
            "uniform_space": 8.4,
            "uniform_time": 2.5,
            "clip": list(clip),
        }
        for block in range(blocks)
    ]


def test_distances_are_shares_of_the_clip():
    models = {"MViT": rows(), "ViT": rows(3, 4, (4, 32, 32), 2.0)}
    figure = draw_attention_distance(models)
    space, time = figure.axes
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "in space (short sides)",
        "in time (lengths of the clip)",
    ]
    drawn = iter(space.lines), iter(time.lines)
    dashes = iter(space.collections)
    for found in models.values():
        side, length = min(found[0]["clip"][1:]), found[0]["clip"][0]
        for row in found:
            for lines, what, unit in zip(drawn, ("space", "time"), (side, length), strict=True):
                x, y = next(lines).get_data()
                np.testing.assert_allclose(y, np.array(row[what]) / unit)
                assert np.all(np.abs(x - row["block"]) < 0.4)
            (dash,) = next(dashes).get_segments()
            assert dash[:, 1] == pytest.approx([8.4 / side] * 2)
    assert {text.get_text() for text in space.texts} == {"MViT", "ViT"}
    assert_texts_apart(figure)


def test_four_models_keep_their_names_apart():
    models = {f"MViT {word}": rows(16, 8, factor=factor) for word, factor in
              zip(("before", "after", "wide", "narrow"), (1, 1.01, 0.5, 0.99), strict=True)}  # fmt: skip
    assert_texts_apart(draw_attention_distance(models))


def test_before_and_after_training_share_a_color():
    names = ("MViT, before", "MViT, after", "ViT, before", "ViT, after", "other, before")
    figure = draw_attention_distance({name: rows(1) for name in names})
    looks = [(line.get_color(), line.get_marker(), line.get_markerfacecolor()) for line in figure.axes[0].lines]
    assert [face == "white" for *_, face in looks] == [True, False, True, False, False]
    assert looks[0][:2] == looks[1][:2] and looks[2][:2] == looks[3][:2]
    assert len({color for color, *_ in looks}) == 3


def test_distances_that_cannot_be_drawn():
    with pytest.raises(ValueError, match="There are 0 models"):
        draw_attention_distance({})
    with pytest.raises(ValueError, match="The rows of 'a' are missing"):
        draw_attention_distance({"a": []})
    with pytest.raises(ValueError, match="The rows of 'a' lack clip, uniform_time; give one a block"):
        draw_attention_distance({"a": [{k: v for k, v in rows()[0].items() if k not in ("clip", "uniform_time")}]})
