"""From the official list of a dataset to jobs, and, when the files are made, to the lists that training reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from data_scripts.command import Plan
from data_scripts.prepare import Job
from mvit_edu.data.video_list import VideoItem, VideoList

Piece = tuple[str, float | None, float | None]  # the name of a source, and the seconds to cut out of it


def find_one(folder: Path, pattern: str) -> Path:
    """The one file below a folder whose name fits the pattern."""
    found = sorted(path for path in folder.rglob(pattern) if path.is_file())
    if len(found) != 1:
        names = f"{len(found)} of them: {', '.join(map(str, found[:3]))}" if found else "none"
        raise ValueError(f"There must be one file {pattern} below {folder}, and there is {names}.")
    return found[0]


def plan_lists(
    splits: Mapping[str, VideoList],
    sources: Mapping[str, str],
    target: Path,
    limit: int | None,
    subfolder: Callable[[VideoItem], str] = lambda item: "",
    pieces: Callable[[str], Iterator[Piece]] = lambda name: iter([(name, None, None)]),
) -> Plan:
    """One video of the official lists after the other becomes `target/videos/[subfolder/]name.mp4`.

    Args:
        splits: the official lists, named "train", "val", ...; only the file name of an item's path is used.
        sources: the files that are there, by name without suffix.
        limit: only the first so many videos of each list that are there.
        subfolder: where below `videos` an item goes.
        pieces: where to look for a name; the first source that is there is taken.
    """
    jobs: dict[Path, Job] = {}
    planned: dict[str, list[VideoItem]] = {}
    notes = []
    for split, videos in splits.items():
        there = []
        for item in videos:
            name = Path(item.path).stem
            piece = next((piece for piece in pieces(name) if piece[0] in sources), None)
            if piece is None:
                continue
            path = target / "videos" / subfolder(item) / f"{name}.mp4"
            there.append(replace(item, path=str(path)))
            if limit is None or len(there) <= limit:
                jobs.setdefault(path, Job(Path(sources[piece[0]]), path, *piece[1:]))
        planned[split] = there
        notes.append(f"{split}: {counted(len(there), len(videos), 'in the download')}")
    if not any(planned.values()):
        raise ValueError(f"The download holds none of the videos of the official lists. {' '.join(notes)}")

    def write_lists() -> list[str]:
        said = []
        for split, items in planned.items():
            made = tuple(item for item in items if Path(item.path).exists())
            path = replace(splits[split], items=made).write(target / f"{split}.csv")
            said.append(f"{path}: {counted(len(made), len(splits[split]), 'ready')}")
        return said

    return Plan(list(jobs.values()), notes, write_lists)


def counted(found: int, official: int, what: str) -> str:
    lacking = f"; {official - found:,} ({1 - found / official:.1%}) are missing" if found < official else ""
    return f"{found:,} of the {official:,} videos of the official list are {what}{lacking}."
