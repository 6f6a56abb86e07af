"""What the log of a study says: values by variant and seed, intervals, and sentences (Chapters 11 to 14)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from mvit_edu.data.motion_shapes import MOTIONS, bag_of_frames_bound
from mvit_edu.studies.statistics import Interval, difference, interval, verdict
from mvit_edu.studies.study import SCALES, Study, plan

TOLD, GUESSED = 97.0, 60.0  # percent: a motion above is nearly always told, one below little more than guessed


def current(study: Study, runs: Iterable[Mapping]) -> list[Mapping]:
    """The runs with the settings that the study has today; others would be compared as if they were of one kind."""
    variants = {variant.name: variant for variant in study.variants}
    return [
        run
        for run in runs
        if run["variant"] in variants
        and run["fingerprint"] == plan(study, variants[run["variant"]], SCALES[run["scale"]], run["seed"]).fingerprint
    ]


def by_seed(runs: Iterable[Mapping], variant: str, order: str = "in order") -> dict[int, float]:
    """Top-1 accuracy of a variant in percent, by seed."""
    return {
        run["seed"]: 100 * run["top1"][order]
        for run in runs
        if run["variant"] == variant and order in run.get("top1", ())
    }


def accuracies(study: Study, runs: Iterable[Mapping], order: str = "in order") -> dict[str, Interval]:
    """Of every variant that has runs, in percent, in the order of the study."""
    runs = list(runs)
    found = {variant.name: by_seed(runs, variant.name, order) for variant in study.variants}
    return {name: interval(list(values.values())) for name, values in found.items() if values}


def by_motion(runs: Iterable[Mapping], variant: str) -> dict[str, Interval]:
    """How often a variant is right in percent, for each motion, that is, for the clips of two classes together.

    The two classes of a motion are the same clips forward and backward. Where looks give nothing away, a model that
    knows the motion and guesses the class is right in 50.
    """
    found: dict[str, list[float]] = {}
    for run in runs:
        if run["variant"] == variant and "in order" in run.get("confusion", ()):
            rows = run["confusion"]["in order"]
            for pair, motion in enumerate(run["data"].get("motions", MOTIONS)):
                two = (2 * pair, 2 * pair + 1)
                right, clips = sum(rows[label][label] for label in two), sum(sum(rows[label]) for label in two)
                found.setdefault(motion, []).append(100 * right / clips)
    return {motion: interval(values) for motion, values in found.items()}


def little_room(study: Study, runs: Iterable[Mapping]) -> str | None:
    """A sentence if the first variant tells or guesses every motion, so that others can hardly differ; else None."""
    found = by_motion(runs, study.variants[0].name)
    told = [f"{motion} {right.mean:.0f} %" for motion, right in found.items() if right.mean > TOLD]
    guessed = [f"{motion} {right.mean:.0f} %" for motion, right in found.items() if right.mean < GUESSED]
    if not found or len(told) + len(guessed) < len(found):
        return None
    verbs = {"tells": told, "does little better than guess": guessed}
    words = [f"{verb} {' and '.join(which)}" for verb, which in verbs.items() if which]
    return f"{study.variants[0].name} {' and '.join(words)}: little room for a difference."


def in_two_orders(study: Study, runs: Iterable[Mapping]) -> dict[str, Interval]:
    """Accuracies in the first two orders of the frames, variant by variant: "name" and "name, order"."""
    runs = list(runs)
    first, second = (accuracies(study, runs, order) for order in study.orders[:2])
    pairs = ({name: first[name], f"{name}, {study.orders[1]}": second[name]} for name in first if name in second)
    return {name: values for pair in pairs for name, values in pair.items()}


def sweep(study: Study, runs: Iterable[Mapping]) -> dict[str, dict[float, Interval]]:
    """For a study along an axis, in the first two orders: "base, order" -> {x: accuracy in percent}."""
    runs, found = list(runs), {}
    for order in study.orders[:2]:
        for variant in study.variants:
            values = by_seed(runs, variant.name, order)
            if values:
                found.setdefault(f"{variant.base}, {order}", {})[variant.x] = interval(list(values.values()))
    return found


def bounds(study: Study) -> dict[str, dict[float, float]]:
    """For the sweep over appearance bias: what a model can reach that knows look and pair, but not the order."""
    biases = [variant.x for variant in study.variants if "appearance_bias" in variant.data]
    return {"best without order": {bias: 100 * bag_of_frames_bound(bias) for bias in biases}} if biases else {}


def against_first(study: Study, runs: Iterable[Mapping]) -> list[str]:
    """A sentence for every variant but the first: by how many points it is above or below it, paired by seed."""
    runs = list(runs)
    first = study.variants[0].name
    base = by_seed(runs, first)
    if not base:
        return [f"{first} has no run yet, so there is nothing to compare the others with."]
    lines = []
    for variant in study.variants[1:]:
        values = by_seed(runs, variant.name)
        if values.keys() & base.keys():
            apart = difference(values, base)
            lines.append(f"{variant.name} against {first}: {points(apart)}, {verdict(apart)}.")
        elif values:
            lines.append(f"{variant.name} has no seed in common with {first} yet.")
    room = little_room(study, runs)
    return [*lines, room] if lines and room else lines


def points(apart: Interval) -> str:
    """A difference with its interval, if it has one."""
    return f"{apart} points" if apart.n > 1 else f"{apart.mean:.1f} points"


def order_costs(study: Study, runs: Iterable[Mapping], order: str = "shuffled") -> list[str]:
    """For every variant what another order of the frames costs the same trained model."""
    runs = list(runs)
    lines = []
    for variant in study.variants:
        seen, moved = by_seed(runs, variant.name), by_seed(runs, variant.name, order)
        if seen.keys() & moved.keys():
            cost = difference(seen, moved)
            size = f"{abs(cost.mean):.1f} ± {cost.half:.1f} points"
            told = {
                "higher": f"costs {size}",
                "lower": f"brings {size}",
            }.get(verdict(cost), f"{verdict(cost)} ({points(cost)})")
            lines.append(f"{variant.name}, frames {order}: {told}.")
    return lines


def sentences(study: Study, runs: Iterable[Mapping]) -> list[str]:
    """What a study found, computed from its log."""
    tell: Callable = order_costs if len(study.orders) > 1 else against_first
    return tell(study, list(runs))


def cost_lines(costs: Mapping) -> list[str]:
    """What `side_by_side` measured, a line a variant: multiply-adds, memory, and time against the first variant."""
    lines = []
    for name, row in costs["variants"].items():
        times = ", ".join(f"{way} step {row[way]['ratio']:.2f} times" for way in ("train", "test"))
        lines.append(f"{name}: {row['macs'] / 1e6:,.1f} M multiply-adds, {row['saved'] / 2**20:.1f} MiB kept; {times}.")
    return lines


def head_rows(runs: Iterable[Mapping]) -> dict[tuple[str, str], list[dict]]:
    """Attention distances by variant and "before" or "after" training: a row a block with the heads of all seeds."""
    found: dict[tuple[str, str], list] = {}
    for run in runs:
        for when in ("before", "after"):
            if when in run:
                found.setdefault((run["variant"], when), []).append(run[when]["attention"]["blocks"])
    merged = {}
    for key, models in found.items():
        merged[key] = [
            {**same[0], **{what: [value for row in same for value in row[what]] for what in ("space", "time")}}
            for same in zip(*models, strict=True)  # one block in every run
        ]
    return merged


def view_curves(runs: Iterable[Mapping]) -> dict[str, dict[float, Interval]]:
    """Accuracy in percent by number of views, for each number of crops."""
    found: dict[str, dict[float, list[float]]] = {}
    for run in runs:
        for row in run["after"]["views"]["results"]:
            name = f"{row['crops']} crop{'s' if row['crops'] > 1 else ''}"
            found.setdefault(name, {}).setdefault(row["views"], []).append(100 * row["top1"])
    return {name: {x: interval(values) for x, values in curve.items()} for name, curve in found.items()}
