"""Directions at small scale: what stands for what, and every status changes with the claim or the log."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from mvit_edu.cli import build_parser
from mvit_edu.studies.ablations import STUDIES, get_study
from mvit_edu.studies.claims import KINDS, Claim, claims, status, summary
from mvit_edu.studies.directions import ALONE, COLUMNS, COUNTERPARTS, RESULTS, direction
from mvit_edu.studies.needs import needs
from mvit_edu.studies.paper import paper_table, paper_tables
from mvit_edu.studies.readings import READINGS
from mvit_edu.studies.study import SCALES, plan

ABLATIONS = ("9", "10", "11", "12", "13", "14", "15", "A.1", "A.2", "A.3")


def find(table: str, row: str, column: str = "top1") -> Claim:
    return next(c for c in claims() if (c.table, c.row, c.column) == (table, row, column))


def write(folder: Path, study: str, scale: str = "cpu", **values: dict[str, list[float]]) -> Path:
    """A log with the accuracies of each variant, in percent by seed, in each order of the frames."""
    runs = []
    for variant in {name for by_variant in values.values() for name in by_variant}:
        for seed in range(max(len(by_variant.get(variant, ())) for by_variant in values.values())):
            top1 = {
                order.replace("_", " "): by_variant[variant][seed] / 100
                for order, by_variant in values.items()
                if seed < len(by_variant.get(variant, ()))
            }
            fingerprint = plan(get_study(study), get_study(study).variant(variant), SCALES[scale], seed).fingerprint
            run = {"scale": scale, "variant": variant, "seed": seed, "fingerprint": fingerprint, "top1": top1}
            runs.append(run)
    (folder / f"{study}.json").write_text(json.dumps({"runs": runs}), encoding="utf-8")
    return folder


def pooling(folder: Path, other: list[float], variant: str = "max, s", **more) -> Path:
    return write(folder, "pooling", in_order={"max, s+1": [80, 81, 82], variant: other}, **more)


# What stands for what


def test_every_counterpart_is_in_the_paper_and_in_its_study():
    for (table, row), found in COUNTERPARTS.items():
        assert paper_table(table).row(row) and paper_table(table).row(found.default)
        study = get_study(found.study)
        assert table in study.tables
        for variant in (found.variant, found.against, *(variant for _, variant in found.others)):
            assert study.variant(variant).trained
        assert {found.order, "in order"} <= set(study.orders)
        assert (found.variant, found.order) != (found.against, "in order")


def test_every_accuracy_of_an_ablation_is_compared_or_says_why_not():
    rows = {(claim.table, claim.row) for claim in claims() if claim.table in ABLATIONS and claim.column in COLUMNS}
    defaults = {(table, found.default) for (table, _), found in COUNTERPARTS.items()}
    assert rows == COUNTERPARTS.keys() | defaults | ALONE.keys()
    assert not (COUNTERPARTS.keys() & ALONE.keys() or defaults & ALONE.keys() or defaults & COUNTERPARTS.keys())
    assert all(ALONE.values())


def test_every_study_of_a_table_is_used():
    ids = {table.id for table in paper_tables()}
    of_tables = {name for name, study in STUDIES.items() if set(study.tables) & ids}
    assert of_tables - {"recipe", "time_mixing"} == {found.study for found in COUNTERPARTS.values()}


def pairs(*studies: str):
    """Configs of a row and of the variant that stands for it: (table, row), paper's, ours."""
    sides = {(table, row): (found, found.variant) for (table, row), found in COUNTERPARTS.items()}
    sides |= {(table, found.default): (found, found.against) for (table, _), found in COUNTERPARTS.items()}
    for (table, row), (found, name) in sides.items():
        if found.study in studies:
            study = get_study(found.study)
            ours = plan(study, study.variant(name), SCALES["cpu"], seed=0).model
            yield (table, row), READINGS[table][row].config, ours


def test_pooling_positions_and_skips_are_the_same_fields():
    kinds = {"pooling": ("pool", "pool_kernel"), "positions": ("position",), "skips": ("skip",)}
    for study, names in kinds.items():
        found = list(pairs(study))
        assert len(found) >= 3
        for where, paper, ours in found:
            assert all(getattr(paper, name) == getattr(ours, name) for name in names), where


def test_strides_do_the_same_in_their_models():
    def reduction(config) -> int:
        return config.q_stride[1] ** (len(config.depths) - 1)

    found = list(pairs("kv_stride"))
    assert len(found) == 9
    for where, paper, ours in found:
        if paper.kv_stride is None:
            assert ours.kv_stride == (1, 1, 1), where  # every key is kept, too
            continue
        (time, side, _), (our_time, our_side, _) = paper.kv_stride, ours.kv_stride
        assert (time, paper.kv_adaptive) == (our_time, ours.kv_adaptive), where
        assert side * reduction(ours) == our_side * reduction(paper), where


def test_cubes_have_the_same_kernels_and_halved_frames():
    found = list(pairs("cubes"))
    assert len(found) == 6
    for where, paper, ours in found:
        assert (paper.frames, paper.cube_kernel) == (2 * ours.frames, ours.cube_kernel), where
        assert paper.cube_stride == ours.cube_stride, where


def test_stages_have_about_half_the_blocks():
    found = list(pairs("stages"))
    assert len(found) == 6
    for where, paper, ours in found:
        assert all(abs(own - blocks / 2) <= 1 for own, blocks in zip(ours.depths, paper.depths, strict=True)), where
    found = [one for one in COUNTERPARTS.values() if one.study == "stages"]
    rows = [row for (table, row) in COUNTERPARTS if table == "13"]
    assert [one.variant.split(" ")[0].lower() for one in found] == rows == ["v1", "v2", "v3", "v4", "v6"]
    assert {one.against.split(" ")[0].lower() for one in found} == {one.default for one in found} == {"v5"}


@pytest.mark.parametrize("scale", SCALES)
def test_query_pooling_changes_no_depth(scale):
    study = get_study("query_pooling")
    found = [plan(study, variant, SCALES[scale], 0).model for variant in study.variants]
    assert len({sum(model.depths) for model in found}) == 1 and len({model.dim for model in found}) == 1


# What a log says


def test_a_direction_by_hand(tmp_path):
    claim = find("15", "s_max")
    seen = direction(claim, pooling(tmp_path, [70, 70, 70]))
    assert (seen.kind, seen.paper) == ("same direction", -1.1)
    assert seen.apart.mean == pytest.approx(-11) and seen.apart.half == pytest.approx(4.303 / 3**0.5)
    assert seen.text == "ours -11.0 ± 2.5 points (3 seeds, study pooling), the paper -1.1"
    now = status(claim, tmp_path)
    assert now.text == f"{seen.text}. {needs(claim)}" and now.command == "mvit-edu study run pooling --seeds 3"
    assert build_parser().parse_args(shlex.split(now.command)[1:]).seeds == 3


@pytest.mark.parametrize(
    "other, kind, words",
    [
        ([70, 72, 71], "same direction", "ours -10.0 ± 2.5 points (3 seeds"),
        ([90, 92, 91], "opposite", "ours +10.0 ± 2.5 points (3 seeds"),
        ([70, 95, 80], "no difference", "no difference seen at this scale"),
        ([70], "no difference", "ours -10.0 points (one seed, study pooling), the paper -1.1: one seed tells"),
        ([], "needs data", "Needs Kinetics-400"),
    ],
)
def test_the_log_decides(tmp_path, other, kind, words):
    claim = find("15", "s_max")
    now = status(claim, pooling(tmp_path, other))
    assert now.kind == kind and words in now.text
    assert now.text.endswith(needs(claim))  # what the number itself needs is never lost


def test_a_changed_log_is_seen(tmp_path):
    claim = find("15", "s_max")
    assert status(claim, pooling(tmp_path, [70, 72, 71])).kind == "same direction"
    assert status(claim, pooling(tmp_path, [90, 92, 91.5])).kind == "opposite"
    (tmp_path / "pooling.json").unlink()
    assert status(claim, tmp_path).kind == "needs data"


def test_runs_of_another_scale_do_not_count(tmp_path):
    assert direction(find("15", "s_max"), pooling(tmp_path, [70, 72, 71], scale="smoke")) is None


def test_a_changed_claim_is_seen(tmp_path):
    claim = find("15", "s_max")
    folder = pooling(tmp_path, [70, 72, 71])
    assert claim.printed == "76.1" and status(claim, folder).kind == "same direction"
    assert status(replace(claim, printed="78.1"), folder).kind == "opposite"
    equal = status(replace(claim, printed="77.2"), folder)
    assert equal.kind == "needs data" and "the paper +0.0: that is no direction to compare" in equal.text


def test_a_printed_change_is_a_sign_by_itself(tmp_path):
    claim = find("10", "two_scales", "top1_change")
    folder = write(tmp_path, "query_pooling", in_order={"ViT": [70, 71, 72], "ViT, two scales": [75, 76.5, 77]})
    assert claim.printed == "+1.5" and status(claim, folder).kind == "same direction"
    assert status(replace(claim, printed="-1.5"), folder).kind == "opposite"
    assert status(find("10", "two_scales"), folder).kind == "same direction"


def test_equal_rows_of_the_paper_have_no_direction(tmp_path):
    folder = write(tmp_path, "cubes", in_order={"8 frames, 3x7x7": [80, 81, 82], "16 frames, 3x7x7": [90, 91, 92.5]})
    now = status(find("12", "32x2_c377"), folder)
    assert now.kind == "needs data" and "ours +10.2" in now.text and "no direction" in now.text


def test_table_9_is_the_cost_of_shuffling_one_model(tmp_path):
    folder = write(
        tmp_path,
        "frame_order",
        in_order={"mvit, bias 0.9": [99, 98, 99], "mvit, bias 0": [99, 99, 98], "mvit, bias 1": [99, 98, 99],
                  "vit, bias 0.9": [82, 80, 83]},
        shuffled={"mvit, bias 0.9": [56, 58, 65], "mvit, bias 0": [35, 34, 44], "mvit, bias 1": [98, 99, 99],
                  "vit, bias 0.9": [82, 80.2, 82.9]},
    )  # fmt: skip
    for column in ("top1", "top1_change"):
        now = status(find("9", "mvit_b_shuffled", column), folder)
        assert now.kind == "same direction" and "bias 0.9), the paper -7.1" in now.text
        assert "At bias 0: lower; at bias 1: no difference seen at this scale." in now.text
        now = status(find("9", "vit_b_shuffled", column), folder)
        assert now.kind == "no difference" and "In the paper, too, nearly nothing is lost" in now.text
    assert status(find("9", "mvit_b"), folder).kind == "needs data"


def test_one_study_stands_for_two_tables(tmp_path):
    values = {"1x1x1 adaptive": [90, 90, 91], "1x2x2 adaptive": [80, 80, 82], "1x4x4 adaptive": [70, 70, 71]}
    folder = write(tmp_path, "kv_stride", in_order=values)
    assert status(find("14", "none"), folder).kind == "same direction"
    assert status(find("A.3", "88"), folder).kind == "same direction"
    now = status(find("A.3", "none"), folder)
    assert now.kind == "opposite" and "the paper's on images" in now.text and "is not built" in now.text
    assert status(find("A.3", "44"), folder).kind == status(find("A.3", "22"), folder).kind == "not attempted"


def test_accuracies_that_the_logs_do_not_have(tmp_path):
    folder = write(tmp_path, "skips", in_order={"normalized": [90, 91, 92], "none": [80, 81, 82.5]})
    assert status(find("A.1", "none"), folder).kind == "same direction"
    assert status(find("A.1", "none", "top5"), folder).kind == "needs data"


def test_a_broken_log_is_named(tmp_path):
    (tmp_path / "pooling.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="pooling.json is no log of a study"):
        status(find("15", "s_max"), tmp_path)


# Every status can change


def test_tampering_reaches_every_kind(tmp_path):
    """Each kind is reached by changing a claim or a log, from another kind."""
    empty, same, opposite, unclear = (tmp_path / name for name in ("empty", "same", "opposite", "unclear"))
    for folder, other in ((empty, []), (same, [70, 72, 71]), (opposite, [90, 92, 91]), (unclear, [70, 95, 80])):
        folder.mkdir()
        pooling(folder, other)
    count, accuracy, memory = find("13", "v1", "params"), find("15", "s_max"), find("13", "v1", "memory")
    gap, theirs = find("14", "none", "gflops"), find("A.2", "r50_mvit")
    changes = {
        "equal": (gap, replace(gap, printed="279.9"), empty),
        "differs": (count, replace(count, printed="29.6"), empty),
        "does not follow": (replace(gap, printed="279.9"), gap, empty),
        "same direction": (accuracy, accuracy, same),
        "opposite": (accuracy, accuracy, opposite),
        "no difference": (accuracy, accuracy, unclear),
        "needs data": (replace(accuracy, data="ImageNet-1K"), accuracy, empty),
        "needs GPU": (replace(memory, how="not ours"), memory, empty),
        "not attempted": (accuracy, replace(accuracy, data="ImageNet-1K"), empty),
        "other work": (theirs, replace(theirs, row="r50"), empty),
        "not read": (count, replace(count, printed=None, tags=("missing",)), empty),
    }
    assert set(changes) == set(KINDS)
    for kind, (before, after, folder) in changes.items():
        assert status(before, empty).kind != kind, kind
        assert status(after, folder).kind == kind, kind


def test_the_totals_follow_the_logs(tmp_path):
    before = summary(results=tmp_path)
    assert before["same direction"] == before["opposite"] == before["no difference"] == 0
    after = summary(results=pooling(tmp_path, [70, 72, 71]))
    assert {kind: after[kind] - before[kind] for kind in KINDS if after[kind] != before[kind]} == {
        "same direction": 1,
        "needs data": -1,
    }
    assert summary() == summary(results=RESULTS)


def test_the_logs_are_looked_up_from_anywhere(tmp_path, monkeypatch):
    before = summary()
    monkeypatch.chdir(tmp_path)
    assert summary() == before and RESULTS.is_dir()
