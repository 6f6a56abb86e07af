"""The repository around the book: one address, one configuration, loose requirements."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from book.tools import installed
from book.tools.chapters import ROOT, Book

tomllib = pytest.importorskip("tomllib", reason="in the standard library from Python 3.11 on")
BOOK = Book()


def files() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for path in map(ROOT.joinpath, listed.splitlines()) if path.is_file()]


def test_the_repository_address_stands_in_one_place():
    slug = BOOK.config["repository"]["url"].split("://", 1)[1]
    free = {"_config.yml", "CITATION.cff", "README.md"}  # what a fork edits by hand
    for path in files():
        if path.suffix in {".mp4", ".png"} or path.relative_to(ROOT).as_posix() in free:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.parent == BOOK.folder and path.suffix in {".md", ".ipynb"}:
            text = text.replace(f"git+https://{slug}@", "")  # the set-up cell, written by `make notebooks`
        assert slug not in text, f"{path.relative_to(ROOT)} names {slug}; take it from _config.yml"


def test_config():
    config = BOOK.config
    assert config["execute"]["execute_notebooks"] == "off"
    assert config["only_build_toc_files"] is True
    assert config["exclude_patterns"] == ["_build", ".*"]
    assert config["sphinx"]["recursive_update"] is True
    assert config["repository"].keys() == {"url", "branch", "path_to_book"}
    assert config["launch_buttons"]["colab_url"].startswith("https://")
    for folder in config["sphinx"]["config"]["html_static_path"]:
        for name in config["sphinx"]["config"]["html_css_files"]:
            assert (ROOT / folder / name).exists()


def test_toc_names_every_file_with_its_suffix():
    assert all(file.endswith((".md", ".ipynb")) for file in BOOK.toc)
    assert len(set(BOOK.toc)) == len(BOOK.toc)


def test_generated_notebooks_are_marked():
    command = ["git", "check-attr", "linguist-generated", "--", "book/02_pooling.ipynb"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith(": true")


def test_the_package_has_lower_bounds_only():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + sum(project["optional-dependencies"].values(), [])
    assert all(re.fullmatch(r"[\w-]+>=[\d.]+", requirement) for requirement in wanted), wanted
    everything = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for requirement in wanted:
        assert re.search(rf"^{re.escape(requirement)}\b", everything, re.MULTILINE), (
            f"{requirement} in requirements.txt"
        )


def test_the_theme_is_pinned():
    everything = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    for pin in ("jupyter-book>=1.0.4,<2", "sphinx-book-theme==1.1.4", "pydata-sphinx-theme==0.15.4"):
        assert re.search(rf"^{re.escape(pin)}\s", everything, re.MULTILINE)


def test_the_workflow_runs_the_same_script():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    commands = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert "bash .ci/run" in commands
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_a_mismatched_torchvision_gets_a_cure():
    cure = installed.diagnose(RuntimeError("operator torchvision::nms does not exist"))
    assert "different builds" in cure and "remove .venv" in cure
    assert "ModuleNotFoundError: av" in installed.diagnose(ModuleNotFoundError("av"))
