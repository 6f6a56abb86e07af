"""The tests that every chapter's checks have: its stub is not attempted, right answers pass, wrong ones get a hint."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from mvit_edu import check


def stub(*args, **kwargs):
    raise NotImplementedError("Exercise 1.1")


def answer_tests(
    right: Mapping[str, Sequence[Callable]], wrong: Sequence[tuple[str, Callable, str]]
) -> tuple[Callable, Callable, Callable]:
    """Tests of the stub, the right and the wrong answers.

    Args:
        right: name of a check -> answers that pass, written in other ways than the solution.
        wrong: name of a check, an answer, and words of the hint that it gets.
    """

    @pytest.mark.parametrize("name", right)
    def test_stub_is_not_attempted(name):
        report = getattr(check, name)(stub)
        assert not report.ok and not report.attempted
        assert "not attempted" in report.text

    @pytest.mark.parametrize(("name", "answer"), [(name, answer) for name in right for answer in right[name]])
    def test_right_answers_pass(name, answer):
        report = getattr(check, name)(answer)
        assert report.ok, report.text

    @pytest.mark.parametrize(("name", "answer", "hint"), wrong, ids=[f"{name}-{hint}" for name, _, hint in wrong])
    def test_wrong_answers_get_their_hint(name, answer, hint):
        report = getattr(check, name)(answer)
        assert not report.ok and report.attempted
        assert report.hint is not None and hint in report.hint, report.text

    return test_stub_is_not_attempted, test_right_answers_pass, test_wrong_answers_get_their_hint
