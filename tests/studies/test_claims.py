"""Statuses are computed: golden counts, and tampering with either side changes them."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from mvit_edu.model.stages import stage_table
from mvit_edu.studies.__main__ import main
from mvit_edu.studies.claims import KINDS, Claim, claims, claims_of, count, status, summary
from mvit_edu.studies.needs import gpu_hours
from mvit_edu.studies.paper import paper_table, paper_tables, parse_table
from mvit_edu.studies.readings import READINGS, Reading

NO_LOGS = Path("there are no logs here")


def find(table: str, row: str, column: str) -> Claim:
    return next(c for c in claims() if (c.table, c.row, c.column) == (table, row, column))


# Multiply-adds in G and parameters in M, counted by hand.
GOLDEN = [
    ("3a", "total", 179.56, 87.16),
    ("3b", "total", 70.33, 36.51),
    ("4", "mvit_b_16x4", 70.52, 36.60),
    ("4", "mvit_b_32x3", 169.80, 36.60),
    ("4", "mvit_b_64x3", 454.74, 36.60),
    ("5", "mvit_b_16x4", 70.52, 36.75),
    ("5", "mvit_b_24_32x3", 236.05, 53.31),
    ("6", "mvit_b_16x4_k400", 70.52, 36.43),
    ("6", "mvit_b_24_32x3_k600", 236.04, 52.98),
    ("7", "mvit_b_16x4_k400", 70.52, 36.41),
    ("7", "mvit_b_24_32x3_k600", 236.04, 52.97),
    ("8", "mvit_b_24_32x3_k600", 236.04, 52.91),
    ("10", "two_scales", 111.15, 87.16),
    ("10", "kv_pool", 148.39, 87.16),
    ("11", "none", 70.33, 36.21),
    ("11", "space", 70.33, 36.51),
    ("11", "joint", 70.33, 38.62),
    ("12", "8x8_c144", 69.38, 36.48),
    ("12", "8x8_c177", 69.62, 36.49),
    ("12", "8x8_c377", 70.33, 36.51),
    ("12", "32x2_c377", 70.33, 36.51),
    ("12", "32x2_c777", 71.74, 36.57),
    ("13", "v1", 90.16, 29.53),
    ("13", "v2", 86.86, 42.82),
    ("13", "v3", 88.27, 32.19),
    ("13", "v4", 84.97, 45.48),
    ("13", "v5", 83.55, 36.51),
    ("13", "v6", 86.38, 34.85),
    ("14", "none", 279.95, 36.51),
    ("14", "144_fixed", 71.39, 36.51),
    ("14", "244_fixed", 64.25, 36.51),
    ("14", "244_adaptive", 83.55, 36.51),
    ("14", "188_adaptive", 70.33, 36.51),
    ("14", "288_adaptive", 63.71, 36.51),
    ("15", "s1_conv", 70.41, 36.57),
    ("15", "333_conv", 70.52, 36.60),
    ("16", "mvit_s_max", 29.77, 25.91),
    ("17", "b16_max", 7.78, 36.95),
    ("17", "b24_max", 10.90, 53.46),
    ("17", "wide_max", 32.63, 72.90),
    ("17", "b16_conv", 7.81, 36.98),
    ("A.3", "88", 7.16, 36.95),
    ("A.3", "44", 7.78, 36.95),
    ("A.3", "22", 9.02, 36.95),
    ("A.3", "none", 10.44, 36.95),
]


@pytest.mark.parametrize("table, row, gmacs, params", GOLDEN)
def test_counts(table, row, gmacs, params):
    counted = stage_table(READINGS[table][row].config)
    assert (round(counted.macs / 1e9, 2), round(counted.params / 1e6, 2)) == (gmacs, params)


@pytest.mark.parametrize(
    "table, row, column, kind, words",
    [
        ("3a", "total", "params", "equal", ""),
        ("3b", "scale4", "operators", "equal", ""),
        ("3b", "scale5", "output", "equal", ""),
        ("3c", "scale2", "operators", "not read", "recollection"),
        ("3c", "total", "gflops", "does not follow", "-3.129 G (-9.5 %). The paper gives no K,V stride"),
        ("3c", "total", "params", "differs", "-0.188 M (-0.72 %)"),
        ("4", "vit_b", "gflops", "equal", ""),
        ("4", "mvit_b_64x3", "gflops", "equal", ""),
        ("4", "mvit_b_32x3", "top1", "needs data", "Kinetics-400 and roughly 13,000 hours"),
        ("4", "x3d_m", "params", "other work", ""),
        ("5", "mvit_b_24_32x3", "params", "differs", "a head of 80 classes counts to 52.910 M"),
        ("6", "mvit_b_16x4_k600", "params", "differs", "a head of 400 classes counts to 36.600 M"),
        ("4", "vit_b_in21k", "top1", "not attempted", "weights from ImageNet-21K"),
        ("8", "mvit_b_16x4_k400", "map", "not attempted", "training with boxes is not built"),
        ("9", "vit_b_shuffled", "top1", "needs data", "validation videos"),
        ("10", "two_scales", "gflops", "equal", ""),
        ("10", "two_scales", "gflops_change", "differs", "+0.085 G"),
        ("10", "kv_pool", "gflops_change", "equal", ""),
        ("12", "32x2_c777", "params", "differs", "the default row counts to 36.513 M"),
        ("14", "none", "gflops", "does not follow", "+149.147 G (+114.0 %). Read literally"),
        ("14", "188_adaptive", "gflops", "differs", "conv pooling counts to 70.518 G"),
        ("A.3", "22", "top1", "not attempted", "no counterpart at small scale: it would be 1×1×1"),
        ("14", "188_adaptive", "memory", "needs GPU", "4 clips"),
        ("16", "vit_b", "clips", "needs GPU", "M40"),
        ("17", "wide_conv", "params", "differs", "max pooling counts to 72.899 M"),
        ("17", "b16_max", "top1", "not attempted", "training on images is not built"),
        ("A.2", "r50", "top1", "other work", ""),
        ("A.2", "r50_mvit", "top1", "not attempted", "SlowFast"),
        ("A.3", "none", "gflops", "equal", ""),
        ("text", "mvit_b_tokens", "tokens_first", "equal", ""),
        ("text", "mvit_b_32x3_5", "tflops", "equal", ""),
        ("text", "mvit_b_32x3_5", "top1", "needs data", "--model mvit_b_32x3 --recipe kinetics"),
    ],
)
def test_status(table, row, column, kind, words):
    now = status(find(table, row, column), NO_LOGS)
    assert now.kind == kind
    assert words in now.text
    assert bool(now.command) == (now.ours is not None)


def test_ours_is_shown_with_two_more_decimals():
    assert status(find("4", "mvit_b_16x4", "params")).shown == "36.600"
    assert status(find("4", "mvit_b_32x3", "gflops")).shown == "169.80"
    assert status(find("text", "mvit_b_tokens", "tokens_first")).shown == "25089"


def test_a_tampered_claim_is_found():
    data = json.loads((resources.files("mvit_edu.studies.paper") / "table_13.json").read_text(encoding="utf-8"))
    column = [c["key"] for c in data["columns"]].index("params")
    before = claims_of(parse_table(data))
    assert data["rows"][0]["values"][column] == "29.5"
    data["rows"][0]["values"][column] = "29.6"
    after = claims_of(parse_table(data))
    changed = [(status(a).kind, status(b).kind) for a, b in zip(before, after, strict=True) if status(a) != status(b)]
    assert changed == [("equal", "differs")]


def test_a_changed_config_is_found():
    claim = find("11", "none", "params")
    assert status(claim).kind == "equal"
    assert status(dataclasses.replace(claim, reading=claim.reading.change(position="joint"))).kind == "differs"
    shape = find("3b", "scale4", "output")
    other = dataclasses.replace(shape, reading=shape.reading.change(frames=32))
    assert status(other).kind == "differs"
    assert "384×16×14×14" in status(other).text


def test_a_gap_alone_does_not_excuse():
    claim = find("14", "none", "gflops")
    assert status(dataclasses.replace(claim, printed="279.9")).kind == "equal"
    assert status(dataclasses.replace(claim, printed="278.0")).kind == "differs"
    without = dataclasses.replace(claim, reading=dataclasses.replace(claim.reading, gap=""))
    assert status(without).kind == "differs"


def test_a_missing_value_is_not_read():
    claim = find("13", "v1", "gflops")
    missing = dataclasses.replace(claim, printed=None, tags=("missing",))
    assert status(missing).kind == "not read"
    for column in ("top1", "memory"):
        missing = dataclasses.replace(find("13", "v1", column), printed=None, tags=("missing",))
        assert (status(missing).kind, status(missing).shown) == ("not read", "")


def test_the_readings_are_those_of_the_tables():
    # Tables 1 and 2 are symbols only, Table A.2 is other work.
    rows = {t.id: [row.id for row in t.rows if row.by == "paper"] for t in paper_tables() if t.id not in ("1", "2")}
    assert {table: sorted(readings) for table, readings in READINGS.items()} == {
        table: sorted(ids) for table, ids in rows.items() if ids
    }


def test_every_claim_has_a_status():
    kinds = {status(claim).kind for claim in claims()}
    assert kinds <= set(KINDS)  # test_directions.py reaches every one
    assert sum(summary().values()) == len(claims()) == 468
    assert {kind: n for kind, n in summary(claims_of(paper_table("A.2"))).items() if n} == {
        "not attempted": 2,
        "other work": 2,
    }


def test_without_logs_all_trained_numbers_need_something():
    trained = [claim for claim in claims() if claim.how == "trained"]
    assert {kind for kind, n in summary(trained, NO_LOGS).items() if n} == {"needs data", "not attempted"}


def test_only_known_gaps_do_not_follow():
    found = {(c.table, c.row) for c in claims() if status(c).kind == "does not follow"}
    assert found == {
        ("3c", "total"),
        ("4", "mvit_s"),
        ("14", "none"),
        ("16", "mvit_s_max"),
        ("16", "mvit_s_conv"),
    }


def test_counting_what_nobody_can_count():
    with pytest.raises(ValueError, match="add it to READINGS or COUNTS"):
        count(dataclasses.replace(find("13", "v1", "gflops"), reading=None))


def test_a_reading_prints_its_expression():
    reading = Reading("mvit_b_16x4").change(pool="max", kv_stride=(1, 4, 4))
    assert str(reading) == 'replace(get_config("mvit_b_16x4"), pool="max", kv_stride=(1, 4, 4))'
    assert reading.change(pool="avg").config.pool == "avg"


def test_gpu_hours_scale_with_the_speed_of_table_16():
    # 240,000 videos, 400 passes, 4.8 clips/s
    assert gpu_hours(READINGS["4"]["mvit_b_16x4"], "Kinetics-400") == 5600
    assert gpu_hours(READINGS["4"]["vit_b"], "Kinetics-400") == 7400


def test_every_trained_number_has_a_command_that_can_be_called():
    from mvit_edu.cli import build_parser
    from mvit_edu.cli.parser import configure

    for claim in claims():
        now = status(claim, NO_LOGS)
        _, found, words = now.text.partition("mvit-edu ")
        assert bool(found) == (now.kind == "needs data"), claim
        if not found:
            continue
        args = build_parser().parse_args(shlex.split(words))
        if words.startswith("train"):
            config = configure(args.parser, args.preset, args.set)
            wanted = claim.reading.config
            assert replace(config, num_classes=wanted.num_classes) == wanted, claim


def test_the_command(capsys):
    main([])
    assert "131  equal" in capsys.readouterr().out
    main(["13"])
    out = capsys.readouterr().out
    assert "paper 90.2 G | ours 90.156 | equal" in out
    assert "depths=(2, 6, 6, 2)" in out
    with pytest.raises(SystemExit):
        main(["99"])
    assert "There is no table '99'" in capsys.readouterr().err
