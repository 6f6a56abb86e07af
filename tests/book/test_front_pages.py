"""The front pages say what is so: names exist, numbers are computed, links and keys lead somewhere."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re

import numpy as np
import pytest
from PIL import Image

from book.tools import cover, front_pages, run_checks
from book.tools.chapters import ROOT, Book
from mvit_edu import cli, get_config, stage_table
from mvit_edu.model.config import BlockSpec, MViTConfig

BOOK = Book()
PAGES = ("index", "how_to_use", "notation", "glossary", "bibliography", "paper_map")
PLANNED = ()

TERMS = """token, cube embedding, patch, class token, position embedding, pooling attention, pooling operator, kernel,
stride, padding, query, key, value, head, head dimension, multiply-adds, stage, stage transition, channel expansion,
skip connection, skip pooling, normalized skip, residual pooling connection, stochastic depth, depthwise convolution,
scaled dot-product attention, activation memory, activation checkpointing, adaptive stride, checkpoint dialect, logits,
view, clip, frame rate, key frame, top-1 accuracy, state dict, released form, paper form, packet, B-frame, sampler,
RandAugment, random erasing, MixUp, CutMix, soft target, repeated augmentation, appearance bias, order-blind,
warm-up, weight decay, gradient clipping, gradient accumulation, label smoothing, layer-wise decay, objective, plateau,
recipe, protocol, confusion matrix, average precision, rank, all-reduce, DDP, FSDP, bfloat16, autocast,
aliasing, attention map, attention rollout, Grad-CAM, lift, mean attention distance, overlap, study"""

KEYS = """fan2021multiscale, li2022mvitv2, dosovitskiy2021image, vaswani2017attention, feichtenhofer2019slowfast,
feichtenhofer2020x3d, arnab2021vivit, bertasius2021timesformer, carreira2017i3d, kay2017kinetics, ryali2023hiera,
mangalam2022reversible, huang2016stochastic, hendrycks2016gelu, ba2016layernorm, dao2022flashattention,
chen2016checkpointing, touvron2021deit, wang2018nonlocal, howard2017mobilenets, goyal2017accurate, paszke2019pytorch,
fan2020pyslowfast, fan2021pytorchvideo, szegedy2015going, cubuk2020randaugment, zhong2020random, zhang2018mixup,
yun2019cutmix, hoffer2020augment, wang2016temporal, goyal2017something, sigurdsson2016hollywood, gu2018ava,
loshchilov2019decoupled, szegedy2016rethinking, li2020ddp, rajbhandari2020zero, zhao2023fsdp, patarasuk2009bandwidth,
abnar2020quantifying, selvaraju2017gradcam, adebayo2018sanity, jain2019attention, zhang2019making"""


def words(text: str) -> set[str]:
    return {" ".join(word.split()) for word in text.split(",")}


def text_of(page: str) -> str:
    return (BOOK.folder / f"{page}.md").read_text(encoding="utf-8")


def all_texts() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(BOOK.folder.glob("*.md"))}


def glossary() -> dict[str, str]:
    """Term -> definition, in the order of the page."""
    body = re.search(r":::\{glossary\}\n(.*?)\n:::", text_of("glossary"), re.DOTALL)[1]
    entries = [entry.split("\n  ", 1) for entry in re.split(r"\n\n(?=\S)", body)]
    assert all(len(entry) == 2 for entry in entries), entries
    return {term.strip(): definition for term, definition in entries}


# Generated parts


@pytest.mark.parametrize("page", front_pages.PAGES)
def test_generated_parts_are_not_stale(page):
    text = (BOOK.folder / page).read_text(encoding="utf-8")
    assert front_pages.refreshed(text, BOOK) == text, "run python -m book.tools.front_pages"


def test_every_part_is_used_once_and_a_changed_number_is_found():
    texts = {page: (BOOK.folder / page).read_text(encoding="utf-8") for page in front_pages.PAGES}
    used = [name for text in texts.values() for _, name, *_ in front_pages.PART.findall(text)]
    assert sorted(used) == sorted(front_pages.PARTS)
    spoiled = texts["index.md"].replace("tables print ", "tables print 1")
    assert spoiled != texts["index.md"]
    assert front_pages.refreshed(spoiled, BOOK) == texts["index.md"]


def test_tables_of_the_map_are_the_papers():
    assert list(front_pages.TABLE_CHAPTERS) == [table.id for table in front_pages.paper_tables()]


def test_a_fork_gets_its_own_address(tmp_path):
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    (tmp_path / "_config.yml").write_text(re.sub(r"url: https://\S+", "url: https://host/me/fork", config))
    assert '"git+https://host/me/fork@main"' in front_pages.install(Book(tmp_path))


# Numbers


def test_numbers_on_the_cover_page():
    config = get_config("mvit_b_16x4")
    table = stage_table(config)
    said = text_of("index")
    for number in (
        f"starts with {table.rows[0].tokens_in:,} of them and ends with {table.rows[-1].tokens_q}.",
        f"{table.params:,} parameters and {table.macs / 1e9:.2f} G multiply-adds",
        f"the last of {config.thw[0]} time steps",
        f"{len(table.stages)} stages".replace("4", "four"),
    ):
        assert number in said, number
    share = table.stages[0].thw[1] // table.stages[-1].thw[1]
    pixels = config.size[1] // table.stages[-1].thw[1]
    assert f"the same {pixels}×{pixels} pixels in every stage: {share**2} tokens at first" in said


def test_numbers_in_the_glossary():
    config = get_config("mvit_b_16x4")
    paper = dataclasses.replace(config, kv_pool_last_stage=False)
    entries = glossary()
    assert f"{stage_table(config).params:,}" in entries["released form"]
    assert f"{stage_table(paper).params:,}" in entries["paper form"]
    strides = [next(b.kv_stride[1] for b in config.blocks if b.stage == stage) for stage in range(4)]
    assert "{}, then {}, {} and {} in space".format(*strides) in entries["adaptive stride"]
    assert {block.dim // block.heads for block in config.blocks} == {96} and "96" in entries["head dimension"]
    assert config.cube_kernel == (3, 7, 7) and "3×7×7" in entries["cube embedding"]
    assert config.cube_stride == (2, 4, 4) and "2×4×4" in entries["cube embedding"]
    assert get_config("vit_b_8x8").cube_kernel == (1, 16, 16) and "16×16" in entries["patch"]
    kept = [sum(block.activations for block in config.blocks if block.stage == stage) for stage in range(4)]
    assert f"hold {100 * sum(kept[:2]) / sum(kept):.0f}% of it" in entries["activation memory"]


def test_chapters_of_the_cover_page():
    lines = re.findall(r"^\d+\. \[(.+?)\]\((\w+)\.ipynb\)\. .* \*(\d+) minutes\*$", text_of("index"), re.MULTILINE)
    assert [f"book/{stem}.ipynb" for _, stem, _ in lines] == [f for f in BOOK.toc if f.endswith(".ipynb")]
    low, high = map(int, re.search(r"take another (\d+) to (\d+)\.", text_of("index")).groups())
    for title, stem, minutes in lines:
        path = BOOK.folder / f"{stem}.md"
        if not path.exists():
            continue  # the table of contents misses it too, and the build says so
        text = path.read_text(encoding="utf-8")
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        assert re.search(r"^# (.+)$", prose, re.MULTILINE)[1] == title
        box = re.search(r"\{admonition\} Before you start\n(.*?)\n:::", text, re.DOTALL)[1]
        assert f"{minutes} minutes" in box, f"{path.name}: the cover page says {minutes} minutes"
        tasks = sum(map(int, re.findall(r"^\*Difficulty .* (\d+) minutes\*", text, re.MULTILINE)))
        assert f"and {tasks} for the exercises" in box, f"{path.name}: its exercises take {tasks} minutes"
        assert low <= tasks <= high, f"{path.name}: its exercises take {tasks} minutes"


# Glossary and sources


def test_the_glossary_has_the_terms_in_order():
    entries = glossary()
    assert set(entries) == words(TERMS)
    assert list(entries) == sorted(entries)


def test_every_definition_leads_to_a_chapter():
    for term, definition in glossary().items():
        assert "\n" not in definition.strip(), term
        linked = re.findall(r"\((\w+\.ipynb)\)", definition)
        planned = re.findall(r"Planned: Chapter (\d+)\.", definition)
        assert linked or planned, term
        assert all(f"book/{file}" in BOOK.toc for file in linked), term
        assert all(int(number) in PLANNED for number in planned), term
        assert len(re.findall(r"[.;!?](?:\s|$)", definition)) <= 6, f"{term}: one to three sentences and a link"


def test_every_term_of_the_book_is_defined():
    known = {term.lower() for term in glossary()}
    for name, text in all_texts().items():
        for used in re.findall(r"\{term\}`([^`]+)`", text):
            target = re.sub(r"^.*<(.+)>$", r"\1", used)
            assert " ".join(target.split()).lower() in known, f"{name}: {used}"


def bibliography() -> dict[str, dict[str, str]]:
    text = (BOOK.folder / "references.bib").read_text(encoding="utf-8")
    entries = re.findall(r"^@\w+\{(\w+),\n(.*?)\n\}$", text, re.DOTALL | re.MULTILINE)
    assert len(entries) == text.count("@")
    return {key: dict(re.findall(r"^  (\w+) = \{(.*)\},$", body, re.MULTILINE)) for key, body in entries}


def test_sources_are_complete():
    entries = bibliography()
    assert set(entries) == words(KEYS)
    for key, fields in entries.items():
        assert fields.keys() >= {"author", "title", "year"}, key
        assert re.search(r"\d{4}", key)[0] == fields["year"], key
        assert re.fullmatch(r"\d{4}\.\d{4,5}", fields.get("eprint", "")) or "url" in fields, key
        first = fields["author"].split(",")[0].lower()
        assert key.startswith(first), key


def test_every_citation_has_a_source():
    known = set(bibliography())
    for name, text in all_texts().items():
        for keys in re.findall(r"\{cite[\w:]*\}`([^`]+)`", text):
            assert {key.strip() for key in keys.split(",")} <= known, f"{name}: {keys}"


# Names, files, commands


def split_row(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def rows(page: str) -> list[list[str]]:
    return [split_row(line) for line in text_of(page).splitlines() if line.startswith("| ")]


def missing(cell: str) -> list[str]:
    """What a cell such as "`TokenPool` in `model/pooling.py`; `test_pooling.py`" names and does not exist."""
    out, waiting = [], []
    for name in re.findall(r"`([^`]+)`", cell):
        if name.startswith("test_"):
            out += [] if list((ROOT / "tests").rglob(name)) else [name]
        elif name.endswith(".py"):
            if not (ROOT / "mvit_edu" / name).exists():
                out += [name, *waiting]
            else:
                module = importlib.import_module("mvit_edu." + name.removesuffix(".py").replace("/", "."))
                out += [symbol for symbol in waiting if not reaches(module, symbol)]
            waiting = []
        else:
            waiting.append(name)
    return out + waiting


def reaches(thing: object, path: str) -> bool:
    for name in path.split("."):
        if not hasattr(thing, name):
            return False
        thing = getattr(thing, name)
    return True


def test_every_name_on_the_map_exists():
    cells = [row[3] for row in rows("paper_map") if len(row) == 4 and "`" in row[3]]
    assert len(cells) > 25
    for cell in cells:
        assert missing(cell) == [], cell
    for name in re.findall(r"`(test_\w+\.py)`", text_of("paper_map")):
        assert missing(f"`{name}`") == []


def test_a_wrong_name_is_found():
    assert missing("`TokenPool` in `model/pooling.py`; `test_pooling.py`") == []
    assert missing("`TokenPooling` in `model/pooling.py`; `test_pool.py`") == ["TokenPooling", "test_pool.py"]
    assert missing("`TokenPool.forwards` in `model/pooling.py`") == ["TokenPool.forwards"]
    assert missing("`TokenPool` in `model/pools.py`") == ["model/pools.py", "TokenPool"]
    assert missing("`TokenPool`") == ["TokenPool"]


def test_every_row_of_the_map_leads_to_a_chapter_or_is_planned():
    for row in rows("paper_map"):
        place = row[2]
        linked = re.findall(r"\]\((\w+\.(?:ipynb|md))\)", place)
        assert all(f"book/{file}" in BOOK.toc for file in linked), row
        numbers = [int(n) for n in re.findall(r"\b\d+\b", re.sub(r"\[\d+\]\([^)]*\)", "", place))]
        assert set(numbers) <= set(PLANNED), row
        if numbers:
            assert "planned" in place or row[1] == "planned", row
        states = (
            "status",
            "---",
            "numbers",
            "cited only",
            "not attempted: our source does not give their values",
        )
        assert linked or numbers or row[1] in states, row


def test_planned_chapters_are_not_there():
    there = {int(re.match(r"book/(\d\d)_", file)[1]) for file in BOOK.toc if file.endswith(".ipynb")}
    assert there.isdisjoint(PLANNED), "a planned chapter has come: update the front pages"


def test_links_of_the_front_pages():
    for page in PAGES:
        for file in re.findall(r"\]\((\w+\.(?:ipynb|md))(?:#[\w-]+)?\)", text_of(page)):
            assert f"book/{file}" in BOOK.toc, f"{page}: {file}"


def test_commands_exist():
    text = text_of("how_to_use")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    used = set(re.findall(r"`?\bmake ([a-z]+)\b", "\n".join(all_texts()[f"{page}.md"] for page in PAGES)))
    assert {"book", "test", "lab", "notebooks", "bench"} <= used <= targets
    for steps in re.findall(r'STEP="([^"]+)"', text):
        assert set(steps.split()) <= set(run_checks.steps(1))
    for module in set(re.findall(r"python -m ([\w.]+)", text)):
        assert importlib.util.find_spec(module), module


@pytest.mark.parametrize("command", re.findall(r"`(mvit-edu [^`]+)`", text_of("how_to_use")))
def test_the_parser_takes_the_commands(command):
    cli.build_parser().parse_args(command.split()[1:])


def test_names_of_the_notation_are_those_of_the_code():
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "mvit_edu").rglob("*.py"))
    found = [name for row in rows("notation") for name in re.findall(r"`([^`]+)`", row[-1])]
    assert len(found) > 30
    for name in found:
        if name.startswith("config."):
            assert hasattr(get_config("mvit_b_16x4"), name.removeprefix("config.")), name
        else:
            last = re.split(r"[.(]", name.removesuffix(")").removeprefix("len(config."))[-1]
            assert re.search(rf"\b{last}\b", code), name
    assert hasattr(BlockSpec, "tokens_kv") and hasattr(MViTConfig, "thw")


# The picture


def test_the_picture_is_of_this_model():
    table = stage_table(get_config(cover.PRESET))
    with Image.open(cover.PICTURE) as picture:
        picture.load()
        assert picture.text["Description"] == cover.alt_text(table), "run python -m book.tools.cover"
        width, height = picture.size
    assert (width, height) == tuple(round(side * cover.DPI / 100) for side in cover.SIZE)
    assert cover.PICTURE.stat().st_size < 400_000


def test_blocks_are_to_scale():
    table = stage_table(get_config(cover.PRESET))
    tiers = cover.tiers(table)
    assert [(t.grid, t.channels, t.heads) for t in tiers] == [
        (56, 96, 1),
        (28, 192, 2),
        (14, 384, 4),
        (7, 768, 8),
    ]
    for tier in tiers:
        low, high = cover.project(np.array([(0, 0, 0), (0, 0, cover.height_of(tier))]), (0, 0))
        assert high[1] - low[1] == pytest.approx(tier.channels * cover.CHANNEL)
        origin = cover.origin_of(100, tier.grid * cover.TOKEN)
        front = cover.project(np.array((tier.grid * cover.TOKEN,) * 2 + (0,)), origin)
        assert front[1] == pytest.approx(cover.GROUND)


def test_cells_are_averages_of_their_pixels():
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    frames[1, :4, 4:, 0] = 255  # the upper right quarter of one of two frames is red
    colors = cover.mosaic(frames, 2)
    assert colors.shape == (2, 2, 3)
    assert colors[0, 1, 0] == 0.5 and colors.sum() == 0.5


def test_the_traced_regions_are_the_same_pixels():
    corners = [cover.region(tier.grid, 0.0) / tier.grid for tier in cover.tiers(stage_table(get_config(cover.PRESET)))]
    for other in corners[1:]:
        np.testing.assert_allclose(other, corners[0])
