"""Machines for the cost model of Chapter 9: the measured one, an assumed one, and how far the model is off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from mvit_edu.studies.scaling import Cluster, Job, Known, fit_ring, predict, ring_seconds

QUIET = 0.05  # of the cores: a time that other programs disturbed more does not count
SMALL, LARGE = "8x32x32", "16x4 of 340x256"  # the clips that were decoded and augmented


def find(rows: Iterable[Mapping], **wanted) -> Mapping:
    """The row of a log that has these values.

    Raises:
        ValueError: there is none.
    """
    for row in rows:
        if all(row[name] == value for name, value in wanted.items()):
            return row
    raise ValueError(f"The log has no row with {wanted}; measure again: python -m benchmarks.scaling")


def quiet_seconds(row: Mapping) -> list[float]:
    """The times of a row during which other programs left the cores alone; the quietest one if there are none."""
    limit = max(QUIET, min(row["others"]))
    return [seconds for seconds, others in zip(row["seconds"], row["others"], strict=True) if others <= limit]


def typical(row: Mapping) -> float:
    """The median of the quiet times of a row, in seconds."""
    return median(quiet_seconds(row))


def core_seconds(log: Mapping, part: str, clip: str, processes: int = 1) -> float:
    """Seconds of one process for a clip; `part` is "decode" or "augment"."""
    row = find(log["cpu"], part=part, clip=clip, processes=processes)
    return typical(row) / row["clips"]


def job_of(log: Mapping, model: str) -> Job:
    """The job of a measured model: its clips in memory, one copy of each."""
    made = log["models"][model]
    return Job(made["macs"], made["params"], made["batch"])


def measured_machine(log: Mapping, model: str) -> Cluster:
    """The machine of a log of `python -m benchmarks.scaling`, as one process and the all-reduce alone show it.

    Training with 2 and with 4 processes plays no part, so that it can be compared with `predict`. The clips of these
    trainings lie in memory: decoding costs nothing.

    Args:
        log: the whole file, as a dict.
        model: a name in `log["models"]`; small matrices run slower, so each model has its own FLOP/s.
    """
    job = job_of(log, model)
    alone = find(log["steps"], model=model, processes=1)
    bandwidth, latency = fit_ring(
        row | {"seconds": quiet_seconds(row)} for row in log["all_reduce"] if row["processes"] == 2
    )
    device, cores = log["measured"]["device"], log["measured"]["cores"]
    ring = "all-reduces of 2 processes, several sizes"
    return Cluster(
        name=f"{device}, {cores} cores",
        flops=Known(job.flop / typical(alone), "measured", f"{model}, 1 process, 1 thread"),
        per_host=Known(max(row["processes"] for row in log["steps"]), "measured", "processes, not more were started"),
        inside=Known(bandwidth, "measured", ring),
        between=None,
        latency=Known(latency, "measured", ring),
        overlap=Known(0.0, "assumed", "who sends takes the core from who computes"),
        cores=Known(cores, "measured"),
        decode=Known(0.0, "assumed", "the clips lie in memory"),
        augment=Known(0.0, "assumed", "the clips lie in memory"),
        shared_cores=True,
    )


def a100_hosts(log: Mapping, reach: float = 0.35) -> Cluster:
    """Hosts of eight A100, ASSUMED: no number of it is measured on such a machine.

    Args:
        log: of `python -m benchmarks.scaling`, for the time that a core of ours takes for a clip.
        reach: share of the 312 TFLOP/s (bfloat16, dense) of the data sheet that training reaches.
    """
    core = f"as long as a core of {log['measured']['device']} takes"
    decode, augment = (core_seconds(log, part, LARGE) for part in ("decode", "augment"))
    return Cluster(
        name="hosts of 8 A100, assumed",
        flops=Known(reach * 312e12, "assumed", f"{reach:.0%} of 312 TFLOP/s (data sheet, bf16, dense)"),
        per_host=Known(8, "data sheet", "DGX A100"),
        inside=Known(0.7 * 300e9, "assumed", "70% of NVLink's 300 GB/s each way (data sheet)"),
        between=Known(0.8 * 25e9, "assumed", "80% of one link of 200 Gbit/s a host"),
        latency=Known(10e-6, "assumed"),
        overlap=Known(0.8, "assumed"),
        cores=Known(128, "data sheet", "DGX A100: two CPUs of 64 cores"),
        decode=Known(decode, "assumed", f"{core}: 16 frames, 340x256"),
        augment=Known(augment, "assumed", f"{core}: Kinetics recipe, crop 224"),
    )


def rates(log: Mapping) -> dict[str, list[dict[str, float]]]:
    """Clips/s of training by model: rows with `devices` (processes), `predicted`, `measured`, `low` and `high`.

    The row of one process is what the prediction is calibrated on.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for model in log["models"]:
        job, machine = job_of(log, model), measured_machine(log, model)
        rows = [row for row in log["steps"] if row["model"] == model]
        for row in sorted(rows, key=lambda row: row["processes"]):
            count, seconds = row["processes"], quiet_seconds(row)
            speeds = {"measured": typical(row), "low": max(seconds), "high": min(seconds)}
            speeds = {name: count * job.clips / value for name, value in speeds.items()}
            predicted = predict(job, machine, count).clips_per_second
            found.setdefault(model, []).append({"devices": count, "predicted": predicted, **speeds})
    return found


def compare(log: Mapping) -> list[dict[str, float | int | str]]:
    """Predicted beside measured, for all that the prediction has not seen.

    Returns:
        rows with `what`, `processes`, `unit`, `predicted`, `measured` and `error`, the relative one (0.1: predicted
        is 10% above measured). Rows of 1 process, and the all-reduces of 2, are what the model is calibrated on; they
        stay out.
    """
    rows = []

    def add(what: str, processes: int, unit: str, predicted: float, measured: float) -> None:
        row = {"what": what, "processes": processes, "unit": unit, "predicted": predicted, "measured": measured}
        rows.append(row | {"error": predicted / measured - 1})

    for model, speeds in rates(log).items():
        for row in speeds:
            if row["devices"] > 1:
                add(f"training {model}", row["devices"], "clips/s", row["predicted"], row["measured"])
    machine = measured_machine(log, next(iter(log["models"])))
    for row in log["all_reduce"]:
        count = row["processes"]
        if count > 2:
            predicted = ring_seconds(row["bytes"], count, machine.inside.value, machine.latency.value)
            add(f"all-reduce of {row['bytes']:,} bytes", count, "ms", 1e3 * predicted, 1e3 * typical(row))
    for row in log["cpu"]:
        count = row["processes"]
        if count > 1:
            rate = min(count, machine.cores.value) / core_seconds(log, row["part"], row["clip"])
            measured = count / core_seconds(log, row["part"], row["clip"], count)
            add(f"{row['part']} {row['clip']}", count, "clips/s", rate, measured)
    return rows
