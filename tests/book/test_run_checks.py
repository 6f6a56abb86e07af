"""``make test`` goes on after a failing step, names it, and ends non-zero."""

from __future__ import annotations

import sys

from book.tools import run_checks


def run(monkeypatch, capfd, *names, **commands):
    steps = {name: (f"step {name}", [[sys.executable, "-c", code]]) for name, code in commands.items()}
    monkeypatch.setattr(run_checks, "steps", lambda jobs: steps)
    return run_checks.main(list(names)), capfd.readouterr()


def test_a_failing_step_fails_the_run_and_the_others_still_run(monkeypatch, capfd):
    code, shown = run(monkeypatch, capfd, one="print('first')", two="raise SystemExit(3)", three="print('third')")
    assert code == 1
    assert "first" in shown.out and "third" in shown.out
    assert "step two: FAILED" in shown.out
    assert "2 steps passed, 1 failed" in shown.out
    assert 'STEP="two"' in shown.out


def test_all_good(monkeypatch, capfd):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    code, shown = run(monkeypatch, capfd, one="import os; assert os.environ['OMP_NUM_THREADS'] == '1'")
    assert code == 0 and "1 steps passed, 0 failed" in shown.out


def test_chosen_and_unknown_steps(monkeypatch, capfd):
    assert run(monkeypatch, capfd, "one", one="", two="raise SystemExit(3)")[0] == 0
    code, shown = run(monkeypatch, capfd, "three", one="")
    assert code == 2 and "the steps are: one" in shown.err


def test_every_check_is_a_step():
    assert list(run_checks.steps(2)) == ["lint", "unit", "chapters", "nbval", "build", "html", "browser"]
