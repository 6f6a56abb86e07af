"""Two hosts on one machine: a training over a network cable that can be pulled out.

    python -m tests.distributed.two_hosts OUT          they train to the end
    python -m tests.distributed.two_hosts OUT --cut    after a few steps the link goes down

Each host is a network namespace with an address and a name of its own, a veth pair is the cable between them, and in
each runs a `torchrun` with one process (gloo). All of it lives in a process namespace: when this program ends, however
it ends, the kernel ends every process in it and removes the networks. Nothing has a name on the machine itself, so
that several of these may run side by side. It needs Linux, `ip` and `unshare`, and either root or a kernel that lets a
user make namespaces; `missing` says what is not there.

After the cut, both processes wait for the time limit of the training (15 s here) and then for the roll call (10 s):

- The first host has rank 0 and the store of the rendezvous. Its process ends with "LostProcess: Rank 1 did not answer
  within 15 s ...", and its `torchrun` with that traceback as root cause and exit code 1.
- The process of the second host ends with "LostProcess: The connection to another process was lost ...; rank 0 says to
  which." Its `torchrun` asks the store what to do, and hears nothing until the kernel gives the connection up: left
  alone, it ended after 929 s with a RendezvousConnectionError and exit code 1. So this program ends it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

NAMES = ("first", "second")
ADDRESSES = ("10.77.0.1", "10.77.0.2")
PORT = 29400
CUT_AFTER = 4  # steps
TIMEOUT_MINUTES = 0.25  # of a training that is cut off; one that is not has a minute
EPOCHS, EPOCHS_TO_CUT = 3, 2000
PATIENCE = 100  # seconds that it may take to start, and to end
ROOT = Path(__file__).parents[2]
SELF = [sys.executable, "-m", "tests.distributed.two_hosts"]


def unshared(*words: str) -> list[str]:
    """The command that runs another one alone: own network, host name and process numbers, ended with its parent."""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *user, "--net", "--uts", "--pid", "--fork", "--kill-child", *words]


def missing() -> str | None:
    """What this machine lacks, None if nothing."""
    if sys.platform != "linux":
        return "network namespaces need Linux"
    for name in ("ip", "unshare"):
        if not shutil.which(name):
            return f"there is no program {name!r}"
    tried = subprocess.run(
        unshared("ip", "link", "add", "one", "type", "veth", "peer", "name", "other"), capture_output=True, text=True
    )
    return None if tried.returncode == 0 else f"no network namespaces here: {' '.join(tried.stderr.split())}"


def train(out: Path, epochs: int) -> None:
    """What every process runs, also when `torchrun` starts two of them on one host."""
    from torch.distributed.elastic.multiprocessing.errors import record

    from mvit_edu.training import fit
    from tests.training.small import RECIPE, clips, small_config, small_model

    limit = TIMEOUT_MINUTES if epochs == EPOCHS_TO_CUT else 1.0
    config = small_config(out, batch=2, accumulate=2, validate_every=epochs, timeout_minutes=limit)
    record(fit)(small_model(), clips(20), RECIPE.changed(epochs=epochs), config, clips(11, "val"))


def ip(*words: object) -> None:
    subprocess.run(["ip", *map(str, words)], check=True)


def plug(number: int) -> None:
    """Name this host and give its end of the cable an address."""
    socket.sethostname(NAMES[number])
    ip("link", "set", "lo", "up")
    ip("address", "add", f"{ADDRESSES[number]}/24", "dev", NAMES[number])
    ip("link", "set", NAMES[number], "up")


def torchrun(number: int, out: Path, epochs: int) -> list[str]:
    options = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint={ADDRESSES[0]}:{PORT}"]
    options += [f"--rdzv-conf=is_host={int(number == 0)}", f"--local-addr={ADDRESSES[number]}"]
    return [sys.executable, "-m", "torch.distributed.run", *options, *SELF[1:], str(out), "--train", str(epochs)]


def environment(number: int) -> dict[str, str]:
    ours = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": NAMES[number]}
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("TORCHELASTIC", "MASTER_"))
    } | ours


class Host:
    """A `torchrun` whose lines are shown with the name of the host, and kept."""

    def __init__(self, number: int, words: list[str]) -> None:
        self.name, self.lines = NAMES[number], []
        self.process = subprocess.Popen(
            words,
            env=environment(number),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def listen(self) -> None:
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def _listen(self) -> None:
        for line in self.process.stdout:
            print(f"{self.name} | {line}", end="", flush=True)
            self.lines.append(line)

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def lost(self) -> bool:
        """Whether its process has said that it misses the other one."""
        return any("LostProcess: " in line for line in self.lines)


def run(out: Path, cut: bool) -> int:
    """Start both hosts and wait for them. 0 if they ended as they should, 1 otherwise."""
    epochs = EPOCHS_TO_CUT if cut else EPOCHS
    second = Host(1, ["unshare", "--net", "--uts", *SELF, str(out), "--second", str(epochs)])
    second.process.stdout.readline()  # it is in its own network now
    ip("link", "add", NAMES[0], "type", "veth", "peer", "name", NAMES[1], "netns", second.process.pid)
    plug(0)
    second.process.stdin.close()  # go
    first = Host(0, torchrun(0, out, epochs))
    for host in (first, second):
        host.listen()
    if not cut:
        ended = wait_until(lambda: not first.running and not second.running)
        return report(ended and first.process.returncode == second.process.returncode == 0, first, second)
    wait_until(lambda: steps(out) >= CUT_AFTER or not (first.running and second.running))
    if steps(out) < CUT_AFTER:
        return report(False, first, second)
    ip("link", "set", NAMES[0], "down")
    print(f"cable | cut after step {steps(out)}", flush=True)
    began = time.monotonic()
    ended = wait_until(lambda: not first.running and second.lost)
    waited = time.monotonic() - began
    first.listener.join(PATIENCE if ended else 0)
    print(f"cable | waited for {waited:.0f} s")
    return report(ended and first.lost and first.process.returncode == 1, first, second)


def wait_until(condition: Callable[[], bool]) -> bool:
    """Whether it came true in time."""
    until = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


def report(good: bool, *hosts: Host) -> int:
    for host in hosts:
        if not host.running:
            host.listener.join(PATIENCE)  # its last lines
    for host in hosts:
        print(f"cable | {host.name}: {'still running' if host.running else f'exit code {host.process.returncode}'}")
    print(f"cable | {'as it should be' if good else 'NOT as it should be'}")
    return 0 if good else 1


def steps(out: Path) -> int:
    """The last step in the log of the training."""
    path = out / "metrics.jsonl"
    text = path.read_text().rpartition("\n")[0] if path.exists() else ""
    return json.loads(text.splitlines()[-1])["step"] if text else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder of the run")
    parser.add_argument("--cut", action="store_true", help="set the link down while they train")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--second", type=int, metavar="EPOCHS", help=argparse.SUPPRESS)
    parser.add_argument("--train", type=int, metavar="EPOCHS", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        train(args.out, args.train)
    elif args.second:
        print("waiting for the cable", flush=True)
        sys.stdin.read()
        plug(1)
        words = torchrun(1, args.out, args.second)
        os.execv(words[0], words)
    elif args.inside:
        with contextlib.suppress(KeyboardInterrupt):
            sys.exit(run(args.out, args.cut))
        sys.exit(130)
    elif missing():
        sys.exit(missing())
    else:
        words = unshared(*SELF, str(args.out.absolute()), "--inside", *(["--cut"] if args.cut else []))
        os.execvp(words[0], words)


if __name__ == "__main__":
    main()
