"""The engine of the exercise checks: every diagnosis says what is wrong, and nothing else changes."""

from __future__ import annotations

import random
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from mvit_edu import check
from mvit_edu.check import Case, Draw, Exercise, Mistake, core, fill_


def scaled_scores(q, k):
    """(B, N, d) x (B, M, d) -> (B, N, M), divided by the square root of d."""
    return q @ k.transpose(1, 2) / q.shape[-1] ** 0.5


def cases(draw: Draw) -> list[Case]:
    b, n, m = draw.integer(2, 3), draw.integer(4, 6), draw.integer(7, 9)
    return [
        Case("small", draw.normal(b, n, 4), draw.normal(b, m, 4)),
        Case("odd sizes", draw.normal(b, n, 5), k=draw.normal(b, m, 5)),
    ]


SCORES = Exercise(
    "9.1",
    reference=scaled_scores,
    cases=cases,
    mistakes=(
        Mistake("Divide by the square root of d, not by d.", lambda q, k: q @ k.transpose(1, 2) / q.shape[-1]),
        Mistake("The scale is missing.", lambda q, k: q @ k.transpose(1, 2)),
    ),
)


def exercise_of(expected, got, **options):
    """The report on a function that returns `got` where `expected` is wanted."""
    return Exercise("9.2", reference=lambda: expected, cases=lambda draw: [Case("only")], **options)(lambda: got)


def flat(report) -> str:
    """The report's text without the line breaks."""
    return " ".join(report.text.split())


def test_right_answer_passes():
    report = SCORES(lambda q, k: scaled_scores(q, k))
    assert repr(report) == "Exercise 9.1: passed (2 cases)."
    assert report.ok and report.attempted and report and report.hint is None


@pytest.mark.parametrize("message", [(), ("Exercise 9.1",)])
def test_stub_is_not_attempted(message):
    def ex_9_1(q, k):
        raise NotImplementedError(*message)

    report = SCORES(ex_9_1)
    assert report.text.startswith("Exercise 9.1: not attempted.")
    assert not report.ok and not report.attempted and not report


def test_not_implemented_of_torch_is_an_error_and_no_stub():
    report = SCORES(lambda q, k: torch.nn.functional.avg_pool3d(q.int(), 2))
    assert report.attempted and "it raised" in report.text


def test_error_names_case_call_type_message_and_line():
    def answer(q, k):
        return q @ k  # shapes do not fit

    report = SCORES(answer)
    assert report.attempted and not report.ok and report.case == "small"
    text = flat(report)
    assert "Case 'small': answer(float32 tensor (" in text
    assert "it raised RuntimeError: " in text
    assert "The line is `return q @ k # shapes do not fit`." in text
    assert "Traceback" not in text


def test_error_without_addresses():
    def answer(q, k):
        raise ValueError(f"cannot use {object()}")

    assert "cannot use <object object>." in flat(SCORES(answer))


def test_wrong_signature():
    assert "positional argument" in flat(SCORES(lambda q: q))


def test_no_return():
    assert "returned None. Did you forget `return`?" in flat(SCORES(lambda q, k: None))
    assert "item 1 of the result is None" in flat(exercise_of((1, 2), (1, None)))


def test_not_a_function():
    assert "wants your function itself, got 3" in flat(SCORES(3))


def test_shape_and_permutation():
    text = flat(SCORES(lambda q, k: scaled_scores(q, k).transpose(1, 2)))
    assert "to have shape (" in text
    assert "`.permute(0, 2, 1)` of your tensor would be right, in shape and in values." in text


def test_shape_of_a_permutation_with_other_values():
    x = torch.arange(6.0).reshape(2, 3)
    assert "`.permute(1, 0)` of your tensor would have that shape." in flat(exercise_of(x, x.reshape(3, 2)))


def test_permutation_with_equal_sizes():
    x = torch.arange(9.0).reshape(3, 3)
    assert "`.permute(1, 0)` of your tensor would be right" in flat(exercise_of(x, x.T))


@pytest.mark.parametrize(
    ("shape", "hint"),
    [
        ((1, 4, 6), "differ only in dimensions of size 1"),
        ((2, 12), "The number of values is right"),
        ((4, 5), "Only dimension 1 is wrong, by -1."),
        ((5, 7, 2), "expected the result to have shape (4, 6), got (5, 7, 2)."),
    ],
)
def test_other_shapes(shape, hint):
    assert hint in flat(exercise_of(torch.zeros(4, 6), torch.zeros(shape)))


def test_dtype_and_device():
    x = torch.ones(3)
    assert "dtype float32, got float64" in flat(exercise_of(x, x.double()))
    assert "on cpu, got it on meta" in flat(exercise_of(x, x.to("meta")))


def test_type():
    assert "to be a float32 tensor (2,), got a float" in flat(exercise_of(torch.ones(2), 1.0))
    assert "plain number, got a float32 tensor (). `.item()`" in flat(exercise_of(2.0, torch.tensor(2.0)))
    assert "to be a tuple of 2, got a float32 tensor (2,)" in flat(exercise_of((1, 2), torch.ones(2)))
    assert "to be a str, got an int" in flat(exercise_of("a", 1))
    assert "to be a bool, got an int" in flat(exercise_of(True, 1))


def test_sequences():
    assert exercise_of((1, 2), [1, 2]).ok and exercise_of((1, 2), torch.Size((1, 2))).ok
    assert "a tuple of 2, got 3 items: (1, 2, 3)" in flat(exercise_of((1, 2), (1, 2, 3)))
    assert "to be (8, 28, 28), got (8, 28, 29)" in flat(exercise_of((8, 28, 28), (8, 28, 29)))
    text = flat(exercise_of((torch.ones(2), (1, 2)), (torch.ones(2), (1, 3))))
    assert "expected item 1 of the result to be (1, 2), got (1, 3)" in text


def test_numbers():
    assert exercise_of(0.1 + 0.2, 0.3).ok and exercise_of(3, np.int64(3)).ok and exercise_of(3.0, 3).ok
    assert "whole number 14, got 14.0. `//`" in flat(exercise_of(14, 14.0))
    assert "whole number 28, got 28.0" in flat(exercise_of((8, 28), (8, 28.0)))
    assert "to be 14, got 15." in flat(exercise_of(14, 15))
    assert "That is 2 times the expected value." in flat(exercise_of(70, 140))
    assert "The sign is turned around." in flat(exercise_of(0.5, -0.5))
    assert "to be 0.5, got 0.6." in flat(exercise_of(0.5, 0.6))


def test_strings_dicts_none_and_other_objects():
    assert exercise_of("conv", "conv").ok and exercise_of(None, None).ok
    assert "to be 'conv', got 'max'" in flat(exercise_of("conv", "max"))
    assert "no key 'b' and the extra key 'c'" in flat(exercise_of({"a": 1, "b": 2}, {"a": 1, "c": 2}))
    assert "entry 'b' of the result to be 2, got 3" in flat(exercise_of({"a": 1, "b": 2}, {"a": 1, "b": 3}))
    assert exercise_of({1, 2}, {2, 1}).ok
    assert "not the expected set" in flat(exercise_of({1, 2}, {1, 3}))


def test_nan():
    x = torch.tensor([1.0, 2.0, 3.0])
    got = torch.tensor([1.0, float("nan"), float("inf")])
    assert "2 of 3 values of the result are NaN or infinite, the first at (1,)" in flat(exercise_of(x, got))
    masked = torch.tensor([1.0, float("-inf")])
    assert exercise_of(masked, masked.clone()).ok


def test_values():
    x = torch.arange(12.0).reshape(3, 4)
    got = x.clone()
    got[1, 2], got[2, 3] = 7.0, -11.0
    text = flat(exercise_of(x, got))
    assert "2 of 12 values of the result differ. First at (1, 2): expected 6, got 7." in text
    assert "Largest difference: 22." in text


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda x: 2 * x, "Your values are 2 times the expected ones"),
        (lambda x: x / 8, "Your values are 0.125 times the expected ones"),
        (lambda x: -x, "expected ones with the opposite sign"),
        (lambda x: x - 0.5, "expected ones minus 0.5"),
        (lambda x: 0 * x, "All your values are 0."),
        (lambda x: x.flip(0).roll(1, 1), "The values are the right ones in another order."),
        (lambda x: torch.cat([x[:, :1] + 1, x[:, 1:]], 1), "All of them are at index 0 of dimension 1"),
        (lambda x: torch.cat([x[:, :1], x[:, 1:] ** 2 + 9], 1), "Only index 0 of dimension 1 is right."),
    ],
)
def test_patterns_of_values(change, hint):
    x = Draw(1).normal(3, 5)
    assert hint in flat(exercise_of(x, change(x)))


def test_whole_number_and_bool_tensors():
    x = torch.arange(4)
    assert exercise_of(x, x.clone()).ok
    assert "1 of 4 values" in flat(exercise_of(x, torch.tensor([0, 1, 2, 4])))
    assert "2 of 4 values" in flat(exercise_of(x > 1, x > 3))


def test_input_changed_in_place():
    def answer(q, k):
        q /= q.shape[-1] ** 0.5
        return q @ k.transpose(1, 2)

    assert "changes its input number 1 in place" in flat(SCORES(answer))

    def answer_keyword(q, k):
        result = scaled_scores(q, k)
        k.zero_()
        return result

    report = Exercise("9.1", scaled_scores, lambda draw: cases(draw)[1:])(answer_keyword)
    assert "changes its input `k` in place" in flat(report) and report.case == "odd sizes"


def test_later_case_is_named():
    report = SCORES(lambda q, k: scaled_scores(q, k) if q.shape[-1] == 4 else q)
    assert report.case == "odd sizes" and "Case 'odd sizes'" in report.text


def test_mistakes_give_their_hint():
    for mistake in SCORES.mistakes:
        report = SCORES(mistake.wrong)
        assert report.hint == mistake.hint and f"Hint: {mistake.hint}" in flat(report)
    assert SCORES(lambda q, k: scaled_scores(q, k) + 1).hint is None


def test_mistake_equal_to_the_reference_on_a_case_gives_no_hint_there():
    ex = Exercise(
        "9.3",
        reference=lambda n: n // 2 + 1,
        cases=lambda draw: [Case("odd", 7), Case("even", 8)],
        mistakes=(Mistake("Round down.", lambda n: (n + 1) // 2),),
    )
    report = ex(lambda n: (n + 1) // 2 if n % 2 else 0)
    assert report.case == "even" and report.hint is None
    assert ex(lambda n: -(-n // 2)).hint == "Round down."


def test_of_two_fitting_mistakes_the_one_that_fits_all_cases():
    ex = Exercise(
        "9.4",
        reference=lambda n: n,
        cases=lambda draw: [Case("two", 2), Case("three", 3)],
        mistakes=(Mistake("squared", lambda n: n * n), Mistake("doubled", lambda n: 2 * n)),
    )
    assert ex(lambda n: n + n).hint == "doubled" and ex(lambda n: n**2).hint == "squared"


def test_mistake_that_raises():
    ex = Exercise(
        "9.5",
        reference=lambda x: x.flatten(1),
        cases=lambda draw: [Case("not contiguous", draw.normal(2, 3, 4).transpose(1, 2))],
        mistakes=(Mistake("view needs contiguous memory.", lambda x: x.view(2, 12)),),
    )
    assert ex(lambda x: x.view(2, 12)).hint == "view needs contiguous memory."


class Expand(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)))


class ExpandTwice(Expand):
    def forward(self, x):
        return x + super().forward(x)


def test_classes():
    class OtherOrder(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.fc2 = nn.Linear(4 * dim, dim)
            self.fc1 = nn.Linear(dim, 4 * dim)

        def forward(self, x):
            return self.fc2(torch.relu(self.fc1(x)))

    class Stub(nn.Module):
        def __init__(self, dim):
            super().__init__()

        def forward(self, x):
            raise NotImplementedError("Exercise 9.6")

    ex = Exercise(
        "9.6",
        reference=Expand,
        cases=lambda draw: [Case("tokens", 6, draw.normal(2, 5, 6))],
        mistakes=(Mistake("The skip is added by the block.", ExpandTwice),),
        build=lambda cls, dim, x: fill_(cls(dim))(x),
    )
    assert ex(OtherOrder).ok
    assert not ex(Stub).attempted
    assert ex(ExpandTwice).hint == "The skip is added by the block."
    text = flat(ex(nn.Linear))
    assert "Case 'tokens': Linear with 6, float32 tensor (2, 5, 6)" in text
    assert "it raised TypeError: " in text and "out_features" in text


def test_own_compare():
    ex = Exercise(
        "9.7",
        reference=lambda: 100,
        cases=lambda draw: [Case("budget")],
        compare=lambda expected, got: None if got <= expected else f"{got} is over the budget of {expected}.",
    )
    assert ex(lambda: 3).ok
    assert "101 is over the budget of 100." in flat(ex(lambda: 101))


def test_same_seed_for_reference_and_student_and_global_state_restored():
    ex = Exercise(
        "9.8",
        reference=lambda: torch.rand(3) + random.random() + np.random.rand(),
        cases=lambda draw: [Case("noise"), Case("more noise")],
    )
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    wanted = torch.rand(1), random.random(), np.random.rand()
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    assert ex(lambda: torch.rand(3) + random.random() + np.random.rand()).ok
    assert (torch.rand(1), random.random(), np.random.rand()) == wanted


def test_student_cannot_spoil_the_inputs_of_others():
    x = torch.ones(3)
    ex = Exercise("9.9", reference=lambda x: 2 * x, cases=lambda draw: [Case("one", x)])
    assert not ex(lambda x: x.mul_(2)).ok
    assert torch.equal(x, torch.ones(3)) and ex(lambda x: x + x).ok


def test_text_is_the_same_every_time_and_fits_the_page():
    texts = {SCORES(lambda q, k: q @ k.transpose(1, 2)).text for _ in range(3)}
    assert len(texts) == 1
    assert max(map(len, texts.pop().splitlines())) <= 88


def test_broken_reference_is_loud():
    with pytest.raises(RuntimeError, match="reference of exercise 9.1 fails on case 'small'"):
        Exercise("9.1", lambda q, k: q @ k, cases)(scaled_scores)


def test_draw_is_fixed_by_its_seed():
    first, second = Draw(3), Draw(3)
    assert torch.equal(first.normal(4), second.normal(4))
    numbers = {Draw(seed).integer(2, 4) for seed in range(50)}
    assert numbers == {2, 3, 4}
    assert Draw(3).choice("ab") in "ab"


def test_unknown_checks_say_so():
    with pytest.raises(AttributeError, match="no checks for chapter 99"):
        check.ex_99_1  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'exx'"):
        check.exx  # noqa: B018


def mistakes_in_the_book():
    return [
        pytest.param(exercise, mistake, id=f"{name}-{number}")
        for name, exercise in check.exercises().items()
        for number, mistake in enumerate(exercise.mistakes)
    ]


@pytest.mark.parametrize(("exercise", "mistake"), mistakes_in_the_book())
def test_every_mistake_in_the_book_gets_its_own_hint(exercise, mistake):
    assert exercise(exercise.reference).ok
    assert exercise(mistake.wrong).hint == mistake.hint


def test_the_example_in_the_docstring_works():
    code = core.__doc__.split("A full example:")[1].split("In the notebook")[0]
    names: dict = {}
    exec(textwrap.dedent(code), names)
    example = names["ex_02_1"]
    assert example(example.reference).ok
    assert [example(mistake.wrong).hint for mistake in example.mistakes] == [m.hint for m in example.mistakes]
