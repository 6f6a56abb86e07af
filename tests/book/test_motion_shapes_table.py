"""The table of trained models in Chapter 7 against the log of the runs."""

from __future__ import annotations

import json

from book.tools.chapters import ROOT

LOG = ROOT / "benchmarks" / "results_motion_shapes.json"
MODELS = {  # what the chapter calls them: the name in the log, and the factor on the first position embeddings
    "`mvit_tiny`": ("mvit_tiny", 1),
    "`mvit_tiny`, cubes of one frame": ("mvit_no_cube", 1),
    "`mvit_tiny`, poolings within a frame": ("mvit_no_pool", 1),
    "`mvit_tiny`, time in attention only": ("mvit_attention", 1),
    "the same, positions 25×": ("mvit_attention", 25),
    "`vit_tiny`": ("vit_tiny", 1),
    "`vit_tiny`, positions 25×": ("vit_tiny", 25),
}


def printed() -> list[tuple]:
    text = (ROOT / "book" / "07_video.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines]
    return [(*MODELS[row[0]], *map(float, row[1:])) for row in rows if row[0] in MODELS]


def test_the_rows_are_the_runs_of_the_log():
    logged = []
    for run in json.loads(LOG.read_text()):
        accuracies = [run["test"][order] for order in ("in order", "shuffled", "reversed")]
        numbers = [run["appearance_bias"], run["training"]["steps"], *accuracies, run["bound"]]
        scale = run["training"].get("position_scale", 1)
        logged.append((run["variant"], scale, *(round(number, 2) for number in numbers)))
    assert len(logged) >= 6
    assert sorted(printed()) == sorted(logged)


def test_the_sentences_hold_in_the_log():
    runs = json.loads(LOG.read_text())

    def tests(variant: str, scale: float = 1, bias: float = 0) -> list[dict]:
        chosen = [run for run in runs if run["variant"] == variant and run["appearance_bias"] == bias]
        return [run["test"] for run in chosen if run["training"].get("position_scale", 1) == scale]

    for test in tests("mvit_tiny"):
        assert test["in order"] > 0.9 > 0.5 > test["shuffled"] and test["reversed"] < 0.05
    for test in tests("mvit_attention"):
        assert round(test["pair"], 2) == 0.93
    for test in [*tests("mvit_attention"), *tests("vit_tiny")]:
        assert max(test[order] for order in ("in order", "shuffled", "reversed")) < 0.5
        assert abs(test["in order"] - test["shuffled"]) < 0.03
    for test in tests("mvit_attention", scale=25):
        assert test["in order"] > 0.65 and test["shuffled"] < 0.5
        each = [test[f"class {label}"] for label in range(12)]  # the six that move or turn come first
        assert round(sum(each[6:]) / 6, 2) == 0.92 and round(sum(each[:6]) / 6, 2) == 0.55
    for test in tests("mvit_no_cube"):
        assert round(test["in order"], 2) == 0.92
    for test in tests("vit_tiny", scale=25):
        assert round(test["pair"], 2) == 0.71 and round(test["in order"], 2) == 0.53
        assert round(test["shuffled"], 2) == 0.30 and abs(test["pair"] / 2 - 0.36) < 0.01
