"""cluster/: the Slurm and the ssh script, with stand-ins for `srun`, `scontrol`, `scancel` and `ssh`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mvit_edu.data import MotionShapes
from mvit_edu.training import read_state
from tests.distributed.launch import ROOT, environment
from tests.test_cli_train import SMALL

SLURM, SSH = ROOT / "cluster" / "slurm.sbatch", ROOT / "cluster" / "ssh.sh"
SECONDS = 240

# What each would start on another machine runs on this one. FAKE is a folder for notes.
FAKES = {
    "ssh": """
        while [[ $1 == -* ]]; do shift 2; done
        export FAKE_HOST=$1; shift
        exec setsid --wait bash -c "$*" """,
    "srun": """
        while [[ $1 == --* ]]; do shift; done
        running=()
        for ((i = 0; i < SLURM_JOB_NUM_NODES; i++)); do
            FAKE_HOST=node$i "$@" & running+=($!)
            echo $! >>"$FAKE/tasks"
        done
        code=0
        for one in "${running[@]}"; do wait "$one" || code=$?; done
        exit $code""",
    "scontrol": """
        if [[ $1 == show ]]; then printf 'localhost\\nlocalhost\\n'; else echo "$*" >>"$FAKE/scontrol"; fi""",
    "scancel": """
        echo "$*" >>"$FAKE/scancel"; kill -TERM $(cat "$FAKE/tasks")""",
    # In place of Python: notes its words, one a line in JSON, and then does what FAKE_HOST does in the test.
    "recorder": """
        trap 'echo "$FAKE_HOST" >>"$FAKE/ended"; exit 143' TERM
        "$REAL_PYTHON" -c 'import json, os, sys; sys.stdout.write(json.dumps([os.getcwd(), *sys.argv[1:]]) + "\\n")' \\
            "$@" >>"$FAKE/words"
        echo "${NCCL_SOCKET_IFNAME:-none}" >>"$FAKE/interface"
        [[ $FAKE_HOST != broken ]] || {
            until [[ -e $FAKE/one-waits && -e $FAKE/two-waits ]]; do sleep 0.05; done; exit 7
        }
        [[ $FAKE_HOST != *waits ]] || { touch "$FAKE/$FAKE_HOST"; for i in {1..600}; do sleep 0.1; done; }""",
}


@pytest.fixture
def fakes(tmp_path) -> dict[str, str]:
    """The environment in which the scripts find the stand-ins."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in FAKES.items():
        path = folder / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
    slurm = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node[0-1]"}
    here = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "FAKE": str(tmp_path), "REAL_PYTHON": sys.executable}
    here |= {"PORT": str(20000 + os.getpid() % 10000), "GLOO_SOCKET_IFNAME": "lo"}
    return environment() | slurm | {"SLURM_GPUS_ON_NODE": "1", "PYTHON": sys.executable} | here


def start(words: list[object], env: dict[str, str], cwd: Path = ROOT) -> subprocess.Popen:
    words = ["bash", *map(str, words)]
    return subprocess.Popen(words, env=env, cwd=cwd, stdout=-1, stderr=-2, text=True, start_new_session=True)


def finish(process: subprocess.Popen) -> tuple[int, str]:
    try:
        text, _ = process.communicate(timeout=SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, text


def run(words: list[object], env: dict[str, str], cwd: Path = ROOT) -> tuple[int, str]:
    return finish(start(words, env, cwd))


def wait_for(condition, process: subprocess.Popen) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > until:
            process.terminate()
            pytest.fail(finish(process)[1])
        time.sleep(0.05)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("script", [SLURM, SSH])
def test_the_shell_can_read_it(script):
    assert run(["-n", script], dict(os.environ)) == (0, "")


@pytest.mark.parametrize(
    "words", [[SLURM], [SSH, "one two"], [SSH, "one two", "two", "--", "train"], [SSH, " ", "1", "--", "x"]]
)
def test_called_wrongly(words, fakes):
    code, text = run(words, fakes)
    assert code == 2 and text.startswith("usage: ") and text.count("\n") == 1


def test_slurm_reads_all_its_lines():
    """It stops at the first command."""
    text = SLURM.read_text().splitlines()
    command = next(i for i, line in enumerate(text) if line.strip() and not line.startswith("#"))
    assert not [line for line in text[command:] if line.startswith("#SBATCH")]
    given = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(.*))?$", "\n".join(text), re.M))
    assert given["ntasks-per-node"] == "1" and given["signal"].startswith("B:USR1@") and "requeue" in given


def test_both_start_the_same_torchrun_with_the_words_as_they_are(fakes, tmp_path):
    train = ["train", "--data", "a b/it's", "--set", 'x="$HOME" `y`', "--out", "line\nline", "*", ""]
    env = fakes | {"PYTHON": "recorder", "NCCL_SOCKET_IFNAME": "ib 0"}
    code, text = run([SLURM, *train], env, cwd=tmp_path)
    assert code == 0, text
    slurm = [json.loads(line) for line in lines(tmp_path / "words")]
    (tmp_path / "words").unlink()
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    code, text = run([SSH, "me@one two", 1, "--", *train], env, cwd=folder)
    assert code == 0, text
    ssh = sorted((json.loads(line) for line in lines(tmp_path / "words")), key=lambda words: "is_host=0" in str(words))

    assert len(slurm) == len(ssh) == 2 and slurm[0] == slurm[1]
    assert slurm[0][0] == str(tmp_path) and ssh[0][0] == ssh[1][0] == str(folder)
    assert [words[words.index("mvit_edu") + 1 :] for words in (*slurm, *ssh)] == [train] * 4
    own = [[word for word in words if word.startswith(("--rdzv-conf", "--local-addr"))] for words in ssh]
    assert own == [["--rdzv-conf=is_host=1", "--local-addr=one"], ["--rdzv-conf=is_host=0", "--local-addr=two"]]
    common = [[word for word in words[1:] if word not in own[0] + own[1]] for words in (*slurm, *ssh)]
    plain = [re.sub(r"--rdzv-(endpoint|id)=[^\0]*", r"--rdzv-\1=", "\0".join(words)) for words in common]
    assert len(set(plain)) == 1
    assert "--max-restarts=3" in common[0] and "--nnodes=2" in common[0] and "--nproc-per-node=1" in common[0]
    assert f"--rdzv-endpoint=one:{fakes['PORT']}" in common[2] and common[2] == common[3]
    assert lines(tmp_path / "interface") == ["ib 0"] * 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_all_hosts(fakes, tmp_path, number):
    process = start([SSH, "one-waits two-waits", 1, "--", "train"], fakes | {"PYTHON": "recorder"}, tmp_path)
    wait_for(lambda: (tmp_path / "one-waits").exists() and (tmp_path / "two-waits").exists(), process)
    process.send_signal(number)
    code, text = finish(process)
    assert code == 130 and text.startswith("Ending on all hosts")
    assert sorted(lines(tmp_path / "ended")) == ["one-waits", "two-waits"]


def test_a_host_that_fails_ends_the_others(fakes, tmp_path):
    code, text = run(
        [SSH, "one-waits broken two-waits", 1, "--", "train"], fakes | {"PYTHON": "recorder"}, cwd=tmp_path
    )
    assert code != 0 and "A host has failed; ending the others." in text
    assert sorted(lines(tmp_path / "ended")) == ["one-waits", "two-waits"]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("motion data")
    for split, length in (("train", 16), ("val", 4)):
        MotionShapes(length, split, size=16, motions=("horizontal", "vertical")).write(folder)
    return folder


def training(videos: Path, out: Path, epochs: int) -> list[str]:
    options = ["--batch", 4, "--epochs", epochs, "--workers", 0, "--log-every", 1, "--progress", "off", "--seed", 3]
    options += ["--validate-every", epochs, "--device", "cpu", *SMALL]
    return list(map(str, ["train", "--data", videos, "--out", out, *options]))


def newest(out: Path) -> dict:
    return read_state(max((out / "checkpoints").glob("step_*.pt")))


def test_two_hosts_by_ssh_train(videos, fakes, tmp_path):
    out = tmp_path / "a run"
    code, text = run([SSH, "127.0.0.1 localhost", 1, "--", *training(videos, out, 2)], fakes)
    assert code == 0, text
    assert text.count("Done after 4 steps") == 1
    state = newest(out)
    assert state["settings"]["processes"] == 2 and state["progress"]["step"] == 4


def test_slurm_saves_before_the_time_limit_and_goes_on_after_it(videos, fakes, tmp_path):
    out, log = tmp_path / "a run", tmp_path / "a run" / "metrics.jsonl"
    words = [SLURM, *training(videos, out, 300)]  # long enough for the signal to arrive in time
    process = start(words, fakes)
    wait_for(lambda: len(lines(log)) > 2, process)
    process.send_signal(signal.SIGUSR1)  # as Slurm does
    code, text = finish(process)
    assert code != 0 and lines(tmp_path / "scancel") == [f"--signal=TERM {fakes['SLURM_JOB_ID']}"], text
    assert lines(tmp_path / "scontrol") == [f"requeue {fakes['SLURM_JOB_ID']}"], text
    saved, before = newest(out), lines(log)
    assert saved["settings"]["processes"] == 2 and 2 < saved["progress"]["step"] == len(before) < 600

    (tmp_path / "tasks").unlink()
    code, text = run(words, fakes)
    assert code == 0 and text.count("Done after 600 steps") == 1, text
    assert lines(log)[: len(before)] == before and newest(out)["progress"]["step"] == 600
    assert len(lines(tmp_path / "scontrol")) == 1  # a job that ended by itself stays out of the queue


def test_the_readme_names_what_is_there():
    text = (ROOT / "cluster" / "README.md").read_text()
    for option in re.findall(r"(--[a-z-]+)=", SSH.read_text() + SLURM.read_text().partition("\nsrun")[2]):
        assert f"`{option}" in text, option


if not shutil.which("bash") or not shutil.which("setsid"):
    pytest.skip("needs bash and setsid", allow_module_level=True)
