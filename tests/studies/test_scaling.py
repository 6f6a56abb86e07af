"""The cost model of Chapter 9: numbers by hand, limits, and the committed measurement."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace

import pytest

from benchmarks import scaling as benchmark
from mvit_edu import get_config
from mvit_edu.studies.clusters import (
    QUIET,
    a100_hosts,
    compare,
    find,
    job_of,
    measured_machine,
    quiet_seconds,
    rates,
    typical,
)
from mvit_edu.studies.scaling import Cluster, Job, Known, fit_ring, predict, ring_seconds

LOG = json.loads(benchmark.LOG.read_text())
JOB = Job(macs=10**9, params=10**6, clips=10)  # 0.06 TFLOP and 4 MB a step


def assumed(value: float) -> Known:
    return Known(value, "assumed")


CLUSTER = Cluster(
    name="by hand",
    flops=assumed(1e12),
    per_host=assumed(4),
    inside=assumed(1e9),
    between=assumed(1e8),
    latency=assumed(1e-3),
    overlap=assumed(0.1),
    cores=assumed(8),
    decode=assumed(0.01),
    augment=assumed(0.0),
)


def test_the_job_of_mvit_b():
    job = Job.of(get_config("mvit_b_16x4"), 4, repeats=2)
    assert job.flop == 6 * 4 * 70_599_407_808
    assert job.bytes == 4 * 36_610_672
    assert job.repeats == 2


def test_one_host_by_hand():
    cost = predict(JOB, CLUSTER, 4)
    assert cost.compute == pytest.approx(0.06)  # 0.06 TFLOP at 1 TFLOP/s
    assert cost.all_reduce == pytest.approx(0.012)  # 6 messages of 1 MB: 1 ms and 1 ms each
    assert cost.exposed == pytest.approx(0.008)  # a tenth of the 40 ms of the backward pass hides 4 ms
    assert cost.decode == pytest.approx(0.05)  # 40 clips of 10 ms on 8 cores
    assert cost.step == pytest.approx(0.068) and cost.waiting == 0
    assert cost.clips_per_second == pytest.approx(40 / 0.068)
    assert cost.efficiency == pytest.approx(0.06 / 0.068)
    assert cost.bound == "compute"
    assert cost.row() == dataclasses.asdict(cost)


def test_two_hosts_go_as_fast_as_the_network():
    cost = predict(JOB, CLUSTER, 8)
    assert cost.all_reduce == pytest.approx(14 * (5e5 / 1e8 + 1e-3))
    assert cost.bound == "all-reduce" and cost.decode == predict(JOB, CLUSTER, 4).decode
    fast = replace(CLUSTER, between=assumed(1e12))  # a network faster than the links inside does not help
    assert predict(JOB, fast, 8).all_reduce == pytest.approx(14 * (5e5 / 1e9 + 1e-3))


def test_one_device_reduces_nothing():
    cost = predict(JOB, CLUSTER, 1)
    assert cost.all_reduce == cost.exposed == 0 and cost.efficiency == 1
    assert cost.step == pytest.approx(0.06)


def test_an_infinite_network_is_linear():
    fast = replace(CLUSTER, inside=assumed(1e30), between=assumed(1e30), latency=assumed(0))
    for devices in (2, 8, 64, 128):
        assert predict(JOB, fast, devices).efficiency == pytest.approx(1)
        assert predict(JOB, fast, devices).clips_per_second == pytest.approx(devices * 10 / 0.06)


def test_overlap_hides_at_most_the_backward_pass():
    hiding = replace(CLUSTER, overlap=assumed(1.0))
    assert predict(JOB, hiding, 4).exposed == 0
    assert predict(JOB, hiding, 8).exposed == pytest.approx(14 * 6e-3 - 0.04)


def test_few_cores_make_the_step_wait_for_clips():
    slow = replace(CLUSTER, cores=assumed(2), augment=assumed(0.001))
    cost = predict(JOB, slow, 4)
    assert cost.bound == "decode"
    assert cost.step == cost.decode == pytest.approx(40 * 0.011 / 2)
    assert cost.waiting == pytest.approx(0.22 - 0.068)
    twice = predict(replace(JOB, repeats=2), slow, 4)  # two copies of a decoded clip; each is augmented
    assert twice.decode == pytest.approx(40 * 0.006 / 2)


def test_processes_that_share_cores_take_turns():
    shared = replace(
        CLUSTER,
        cores=assumed(2),
        overlap=assumed(0),
        latency=assumed(0),
        decode=assumed(0),
        per_host=assumed(8),
        shared_cores=True,
    )
    assert predict(JOB, shared, 2).compute == pytest.approx(0.06)
    four = predict(JOB, shared, 4)
    assert four.compute == pytest.approx(0.12)
    assert four.all_reduce == pytest.approx(6e-3)
    assert four.step == pytest.approx(0.126) and four.waiting == 0
    free = replace(shared, inside=assumed(1e30))
    assert predict(JOB, free, 4).clips_per_second == pytest.approx(2 * 10 / 0.06)
    reading = replace(free, decode=assumed(0.002))  # 20 ms for the clips of a process
    assert predict(JOB, reading, 1).step == pytest.approx(0.06)  # the other core does it
    assert predict(JOB, reading, 2).step == pytest.approx(0.06 + 0.02)  # no core is left for it


def test_efficiency_never_grows_with_devices():
    found = [predict(JOB, CLUSTER, devices).efficiency for devices in (1, 2, 4, 8, 16, 32, 64, 128)]
    assert found == sorted(found, reverse=True) and found[-1] < 0.5


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"flops": 1e12}, "flops=1000000000000.0 must say where it is from"),
        ({"flops": Known(1e12, "guessed")}, "source is one of measured, data sheet, assumed"),
        ({"inside": assumed(0)}, "inside is 0; it must be above 0"),
        ({"overlap": assumed(1.5)}, "overlap is 1.5; it must lie from 0 to 1"),
        ({"decode": assumed(-1)}, "decode is -1; it must not be below 0"),
    ],
)
def test_a_number_that_cannot_be(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(CLUSTER, **change)


def test_what_cannot_be_predicted():
    for devices in (0, 2.0):
        with pytest.raises(ValueError, match=f"devices={devices} must be a whole number from 1 on"):
            predict(JOB, CLUSTER, devices)
    with pytest.raises(ValueError, match="by hand is one host of 4 devices; 5 need `between`, its network"):
        predict(JOB, replace(CLUSTER, between=None), 5)
    with pytest.raises(ValueError, match="clips=0 must be a whole number"):
        replace(JOB, clips=0)
    with pytest.raises(ValueError, match="A line through one point is no fit"):
        fit_ring([{"processes": 2, "bytes": 100, "seconds": [1.0]}] * 2)


def test_the_sources_are_printed():
    lines = str(replace(CLUSTER, flops=Known(1e12, "measured", "by us"))).splitlines()
    assert lines[0] == "by hand" and lines[1].split() == ["flops", "1e+12", "measured", "by", "us"]
    assert len(lines) == 10 and len(str(replace(CLUSTER, between=None)).splitlines()) == 9


def test_the_fit_finds_the_ring_again():
    rows = [
        {"processes": n, "bytes": size, "seconds": [0.0, ring_seconds(size, n, 2e9, 3e-4), 9.0]}
        for n in (2, 4)
        for size in (4_000, 10**6, 32 * 10**6)
    ]
    assert fit_ring(rows) == (pytest.approx(2e9), pytest.approx(3e-4))
    exact = [{**row, "seconds": [row["bytes"] / 2e9 - 1e-9]} for row in rows if row["processes"] == 2]
    assert fit_ring(exact)[1] == 0  # a time below zero is no latency


# The committed measurement


def test_the_log_is_whole():
    assert {row["processes"] for row in LOG["steps"]} == {1, 2, 4}
    assert all(len(row["seconds"]) >= 5 for kind in benchmark.LISTS for row in LOG[kind])
    tiny = LOG["models"]["mvit_tiny"]
    assert job_of(LOG, "mvit_tiny") == Job.of(get_config("mvit_tiny"), tiny["batch"])
    assert all(len(row["others"]) == len(row["seconds"]) for kind in benchmark.LISTS for row in LOG[kind])
    assert all(min(row["others"]) <= QUIET for row in LOG["steps"])  # otherwise: measure again


def test_the_table_is_that_of_the_log():
    assert benchmark.TABLE.read_text() == benchmark.table(LOG)


def test_one_process_is_what_the_prediction_knows():
    for rows in rates(LOG).values():
        assert rows[0]["devices"] == 1 and rows[0]["predicted"] == pytest.approx(rows[0]["measured"])
        assert all(row["low"] <= row["measured"] <= row["high"] for row in rows)


def test_the_prediction_of_training_holds_within_its_error():
    errors = {(row["what"], row["processes"]): row["error"] for row in compare(LOG) if row["what"][:8] == "training"}
    assert len(errors) == 4
    assert all(abs(error) < 0.3 for error in errors.values()), errors


def test_the_prediction_does_not_look_at_what_it_predicts():
    changed = json.loads(json.dumps(LOG))
    for row in changed["steps"] + changed["all_reduce"]:
        if row["processes"] > (2 if "bytes" in row else 1):
            row["seconds"] = [10.0] * len(row["seconds"])
    for before, after in zip(compare(LOG), compare(changed), strict=True):
        assert before["predicted"] == after["predicted"]
    assert measured_machine(changed, "mvit_tiny") == measured_machine(LOG, "mvit_tiny")


def test_nothing_of_the_gpus_is_called_measured():
    hosts = a100_hosts(LOG)
    assert {known.source for known in hosts.known().values()} == {"assumed", "data sheet"}
    assert "assumed" in hosts.name
    job = Job.of(get_config("mvit_b_16x4"), 4, repeats=2)
    assert predict(job, hosts, 1).compute == pytest.approx(4 * 6 * 70_599_407_808 / (0.35 * 312e12))


def test_disturbed_times_do_not_count():
    row = {"seconds": [1.0, 9.0, 3.0, 8.0], "others": [0.0, 0.4, 0.05, 0.06]}
    assert quiet_seconds(row) == [1.0, 3.0] and typical(row) == 2.0
    assert quiet_seconds({"seconds": [1.0, 9.0], "others": [0.4, 0.3]}) == [9.0]  # by quiet, not by speed


def test_a_log_without_a_row():
    with pytest.raises(ValueError, match="The log has no row with {'model': 'mvit_b_16x4', 'processes': 1}"):
        find(LOG["steps"], model="mvit_b_16x4", processes=1)
