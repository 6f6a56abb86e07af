"""What came out of an evaluation. Next to every accuracy stand the protocol and the number of videos (Chapter 10)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mvit_edu.data.failures import Failure
from mvit_edu.data.list_file import write_whole
from mvit_edu.evaluation.metrics import average_precision, confusion_matrix, top_k_correct

LOWEST = 3


@dataclass(frozen=True, eq=False)
class Report:
    """The scores of N videos that were read, in the order of the list, and what follows from them.

    Args:
        scores: float32 (N, C), one row a video: the combined scores of its clips.
        labels: int64 (N,); for several labels a video, float (N, C) of 0 and 1.
        index: int64 (N,), ascending: the place of each video in the list.
        classes: names in the order of their numbers, or ().
        protocol: how the videos were shown, in words.
        order: the order of the frames.
        failures: the videos that could not be read. They are in no accuracy.
    """

    scores: torch.Tensor
    labels: torch.Tensor
    index: torch.Tensor
    classes: tuple[str, ...] = ()
    protocol: str = ""
    order: str = "in order"
    failures: tuple[Failure, ...] = ()

    @property
    def videos(self) -> int:
        """N, how many videos were read and scored."""
        return len(self.scores)

    @property
    def failed(self) -> int:
        """How many videos could not be read."""
        return len(self.failures)

    @property
    def multi_label(self) -> bool:
        """Whether a video may belong to several classes at once."""
        return self.labels.ndim == 2

    def correct(self, k: int = 1) -> int:
        """How many videos have their class among the k highest scores; equal scores count in the order of classes."""
        return top_k_correct(self.scores, self.labels, k)

    @property
    def top1(self) -> float:
        """Share of the videos, from 0 to 1, whose class has the highest score."""
        return self.correct(1) / self.videos

    @property
    def top5(self) -> float:
        """Share of the videos, from 0 to 1, whose class is among the five with the highest scores."""
        return self.correct(5) / self.videos

    @cached_property
    def confusion(self) -> torch.Tensor:
        """Videos of class i that were called j, in row i and column j: int64 (C, C)."""
        return confusion_matrix(self.scores, self.labels)

    @cached_property
    def per_class(self) -> torch.Tensor:
        """Accuracy of every class, for several labels its average precision: (C,), NaN where no video has the class."""
        if self.multi_label:
            return average_precision(self.scores, self.labels)
        return self.confusion.diagonal() / self.confusion.sum(dim=1)  # 0 / 0 is NaN

    @property
    def mean_average_precision(self) -> float:
        """Mean over the classes that at least one video has."""
        if not self.multi_label:
            raise ValueError("Mean average precision is for videos with several labels; these have one: see top1.")
        return float(self.per_class.nanmean())

    @property
    def main(self) -> float:
        """The number to compare models by: top1, or mean_average_precision for several labels."""
        return self.mean_average_precision if self.multi_label else self.top1

    def metrics(self) -> dict[str, float | int]:
        """One row of a log: shares from 0 to 1, and counts. "top5" only where there are more than five classes."""
        counts = {"videos": self.videos, "failed": self.failed}
        if self.multi_label:
            return {"map": self.mean_average_precision, **counts}
        return {"top1": self.top1, **({"top5": self.top5} if self.scores.shape[1] > 5 else {}), **counts}

    def write(self, path: str | Path) -> Path:
        """Everything but the scores as JSON; the file is complete or not there at all.

        `per_class` has null where no video has the class, `confusion` has one row per true class, and `failures` has
        the path and the cause of each.
        """
        path = Path(path)
        content: dict[str, Any] = {
            **self.metrics(),
            "protocol": self.protocol,
            "order": self.order,
            "classes": list(self.classes),
            "per_class": [None if value != value else value for value in self.per_class.tolist()],
            "failures": [asdict(failure) for failure in self.failures],
        }
        if not self.multi_label:
            content["confusion"] = self.confusion.tolist()
        lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in content.items()]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, "{\n" + ",\n".join(lines) + "\n}\n")
        return path

    def __str__(self) -> str:
        lines = [self._result(), self.protocol, f"videos: {self.videos}, failed to decode: {self.failed}"]
        lines += [f"order of the frames: {self.order}"] if self.order != "in order" else []
        lines += [self._lowest()] if self._lowest() else []
        return "\n".join(line for line in lines if line)

    def _result(self) -> str:
        if self.multi_label:
            present, classes = int((~self.per_class.isnan()).sum()), len(self.per_class)
            return f"mAP {self.mean_average_precision:.2%} (mean over {present} of {classes} classes)"
        shown = (1, 5) if self.scores.shape[1] > 5 else (1,)
        return ", ".join(
            f"top-{k} {self.correct(k) / self.videos:.2%} ({self.correct(k)} of {self.videos})" for k in shown
        )

    def _lowest(self) -> str:
        """The classes that do worst, at most three, those that are perfect left out."""
        ranked = self.per_class.nan_to_num(nan=1.0).sort(stable=True).indices.tolist()
        worst = [k for k in ranked if self.per_class[k] < 1][:LOWEST]
        names = [self.classes[k] if self.classes else f"class {k}" for k in worst]
        texts = [f"{name} {float(self.per_class[k]):.2%}{self._share(k)}" for name, k in zip(names, worst, strict=True)]
        return f"lowest classes: {', '.join(texts)}" if texts else ""

    def _share(self, k: int) -> str:
        if self.multi_label:
            return ""
        return f" ({int(self.confusion[k, k])} of {int(self.confusion[k].sum())})"
