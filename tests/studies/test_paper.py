"""The paper's tables as data: complete, and tagged."""

from __future__ import annotations

import json
from importlib import resources

import pytest

from mvit_edu.studies.paper import SOURCES, TAGS, paper_table, paper_tables, parse_table

# Rows of each table, and printed values in the columns that are not labels.
SIZES = {
    "1": (3, 0),
    "2": (6, 0),
    "3a": (4, 9),
    "3b": (7, 15),
    "3c": (6, 13),
    "4": (16, 64),
    "5": (8, 32),
    "6": (13, 50),
    "7": (15, 43),
    "8": (11, 33),
    "9": (4, 14),
    "10": (3, 15),
    "11": (4, 12),
    "12": (6, 18),
    "13": (6, 24),
    "14": (6, 18),
    "15": (6, 12),
    "16": (8, 32),
    "17": (11, 33),
    "A.1": (3, 6),
    "A.2": (4, 4),
    "A.3": (4, 12),
    "text": (6, 9),
}


def load(name: str) -> dict:
    return json.loads((resources.files("mvit_edu.studies.paper") / name).read_text(encoding="utf-8"))


def test_every_table_and_every_number_is_there():
    sizes = {}
    for table in paper_tables():
        numbers = [
            value
            for row in table.rows
            for column, value in zip(table.columns, row.values, strict=True)
            if column.how and value not in ("", "-", "N/A")
        ]
        sizes[table.id] = (len(table.rows), len(numbers))
    assert sizes == SIZES
    assert list(sizes) == list(SIZES)


@pytest.mark.parametrize(
    "table, row, column, value",
    [
        ("3a", "total", "gflops", "179.6"),
        ("3b", "scale4", "operators", "[MHPA(384), MLP(1536)] × 11"),
        ("4", "mvit_b_16x4", "top1", "78.4"),
        ("4", "vivit", "params", "310.8"),
        ("5", "mvit_b_24_32x3", "params", "52.9"),
        ("6", "mvit_b_24_32x3_k600", "top1", "68.7"),
        ("7", "mvit_b_64x3_k400", "map", "46.3"),
        ("8", "mvit_b_16x4_k600", "params", "36.3"),
        ("9", "mvit_b_shuffled", "top1_change", "-7.1"),
        ("10", "two_scales", "top1", "70.0"),
        ("11", "joint", "params", "38.6"),
        ("12", "32x2_c777", "top1", "77.3"),
        ("13", "v6", "memory", "11.3"),
        ("14", "none", "gflops", "130.8"),
        ("15", "333_conv", "top1", "78.4"),
        ("16", "mvit_s_max", "clips", "12.3"),
        ("17", "wide_conv", "top1", "84.8"),
        ("A.1", "linear", "top5", "91.3"),
        ("A.2", "r101_mvit", "top1", "61.6"),
        ("A.3", "none", "gflops", "10.4"),
    ],
)
def test_golden_values(table, row, column, value):
    assert paper_table(table).value(row, column) == value


def test_tags():
    for table in paper_tables():
        for row in table.rows:
            for tags, value in zip(row.tags, row.values, strict=True):
                assert tags[0] in SOURCES and set(tags) <= set(TAGS)
                assert (tags[0] == "missing") == (value is None)

    def tags(table, row, column):
        found = paper_table(table)
        return found.row(row).tags[found.columns.index(found.column(column))]

    assert tags("4", "mvit_b_16x4", "top1") == ("text", "prose", "v2")
    assert tags("11", "none", "top1") == ("text", "prose")
    assert tags("11", "none", "params") == ("text",)
    assert tags("10", "two_scales", "top1") == ("fix",)
    assert tags("3b", "cube1", "output") == ("fix", "prose")
    assert tags("3c", "scale2", "operators") == ("memory",)


def test_a_missing_value_is_tagged():
    data = load("table_a1.json")
    data["rows"][0]["values"][1] = None
    assert parse_table(data).rows[0].tags[1] == ("missing", "prose")


def test_other_work_is_marked():
    by = {row.id: row.by for row in paper_table("4").rows}
    assert by["x3d_m"] == by["timesformer"] == "other work"
    assert by["vit_b"] == by["mvit_s"] == "paper"


def test_errors_name_the_choices():
    with pytest.raises(ValueError, match="no table '99'.*A.3"):
        paper_table("99")
    with pytest.raises(ValueError, match="Table 13 has no row 'v7'.*v6"):
        paper_table("13").row("v7")
    with pytest.raises(ValueError, match="no column 'speed'.*memory"):
        paper_table("13").value("v1", "speed")


def test_bad_files_are_refused():
    data = load("table_13.json")
    data["rows"][0]["values"].append("1")
    with pytest.raises(ValueError, match="'v1' of table 13 has 7 values for 6 columns"):
        parse_table(data)
    data = load("table_13.json")
    data["rows"][1]["id"] = "v1"
    with pytest.raises(ValueError, match="twice"):
        parse_table(data)
    data = load("table_13.json")
    data["rows"][0]["tags"] = ["rumor"]
    with pytest.raises(ValueError, match="rumor.*choose from"):
        parse_table(data)
    data = load("table_13.json")
    data["rows"][0]["notes"] = {"speed": "fast"}
    with pytest.raises(ValueError, match="speed"):
        parse_table(data)
