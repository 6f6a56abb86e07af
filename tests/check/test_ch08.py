"""The checks of Chapter 8: stubs, right answers written in another way, and wrong answers with their hints."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from mvit_edu import check
from mvit_edu.training import get_recipe, learning_rate, parameter_groups
from tests.check.answers import answer_tests


# 8.1
def rate(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    scale = clips / lr_clips
    if epoch < warmup:
        return scale * ((warmup - epoch) * floor + epoch * lr) / warmup
    half = math.cos(math.pi * (epoch - warmup) / (epochs - warmup)) / 2 + 0.5
    return torch.tensor(scale * (half * lr + (1 - half) * floor), dtype=torch.float64)


def rate_of_the_module(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    recipe = get_recipe("kinetics").changed(
        lr=lr, start_lr=floor, end_lr=floor, epochs=epochs, warmup_epochs=warmup, lr_clips=lr_clips
    )
    return learning_rate(recipe, epoch, clips)


def rate_of_the_paper(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    recipe = get_recipe("kinetics").changed(
        lr=lr, start_lr=floor, end_lr=floor, epochs=epochs, warmup_epochs=warmup, lr_clips=lr_clips
    )
    return learning_rate(recipe.changed(cosine_after_warmup=False), epoch, clips)


def piecewise(share=None, scale=None, low=None, start=None, shape=None):
    """A schedule with one thing wrong."""

    def answer(epoch, lr, floor, epochs, warmup, clips, lr_clips):
        factor = scale(clips, lr_clips) if scale else clips / lr_clips
        if epoch < warmup:
            first = floor if start is None else start
            return (first + (lr - first) * epoch / warmup) * factor
        done = share(epoch, epochs, warmup) if share else (epoch - warmup) / (epochs - warmup)
        last = floor if low is None else low
        half = shape(done) if shape else (1 + math.cos(math.pi * done)) / 2
        return (last + (lr - last) * half) * factor

    return answer


def only_lr_scaled(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    return rate(epoch, lr * clips / lr_clips, floor, epochs, warmup, 1, 1)


def floor_on_top(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    if epoch < warmup:
        return (floor + lr * epoch / warmup) * clips / lr_clips
    half = (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup))) / 2
    return (floor + lr * half) * clips / lr_clips


def without_warmup(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    return rate(epoch, lr, floor, epochs, 0, clips, lr_clips)


# 8.2
def decayed(model):
    return {n for n, p in model.named_parameters() if p.dim() >= 2 and p.requires_grad and n.split(".")[-1] != "bias"}


def decayed_of_the_module(model):
    groups = parameter_groups(model, get_recipe("kinetics"))
    return (name for group in groups if group["weight_decay"] for name in group["names"])


def filtered(keep):
    def answer(model):
        return [n for n, p in model.named_parameters() if p.requires_grad and keep(n, p)]

    return answer


def also_frozen(model):
    return [n for n, p in model.named_parameters() if p.dim() > 1 and not n.endswith(".bias")]


def linear_layers(model):
    layers = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear)]
    return [f"{n}.weight" for n, m in layers if m.weight.requires_grad]


# 8.3
def accumulated(model, parts):
    for p in model.parameters():
        p.grad = None
    clips_in_all = sum(clips.shape[0] for clips, _ in parts)
    means = []
    for clips, labels in parts:
        mean = F.cross_entropy(model(clips), labels)
        share = len(labels) / clips_in_all
        (share * mean).backward()
        means.append(share * float(mean.detach()))
    return sum(means)


def parts_with(weight, clear="once", back=None):
    def answer(model, parts):
        total, count = 0.0, sum(len(labels) for _, labels in parts)
        if clear == "once":
            model.zero_grad()
        for clips, labels in parts:
            if clear == "always":
                model.zero_grad()
            loss = F.cross_entropy(model(clips), labels) * weight(len(labels), count, len(parts))
            loss.backward()
            total += loss.item()
        return total if back is None else back(model, parts)

    return answer


def share(n, count, parts):
    return n / count


def mean_losses(model, parts):
    with torch.no_grad():
        return [F.cross_entropy(model(clips), labels).item() for clips, labels in parts]


def joined(model, parts):
    model.zero_grad()
    loss = F.cross_entropy(model(torch.cat([c for c, _ in parts])), torch.cat([y for _, y in parts]))
    loss.backward()
    return loss.item()


def one_backward(model, parts):
    model.zero_grad()
    count = sum(len(y) for _, y in parts)
    loss = torch.stack([F.cross_entropy(model(c), y) * len(y) / count for c, y in parts]).sum()
    loss.backward()
    return loss.item()


def steps(model, parts):
    loss = accumulated(model, parts)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    return loss


# 8.4
class Snapshot:
    def __init__(self, model, optimizer, step):
        self.model, self.optimizer, self.step = copy.deepcopy((model.state_dict(), optimizer.state_dict())) + (step,)

    def restore(self, model, optimizer):
        weights, means = copy.deepcopy((self.model, self.optimizer))
        model.load_state_dict(weights)
        optimizer.load_state_dict(means)
        return self.step


class Cloned(Snapshot):
    def __init__(self, model, optimizer, step):
        super().__init__(model, optimizer, step)
        self.model = {name: value.clone() for name, value in model.state_dict().items()}


class NothingCopied(Snapshot):
    def __init__(self, model, optimizer, step):
        self.model, self.optimizer, self.step = model.state_dict(), optimizer.state_dict(), step

    def restore(self, model, optimizer):
        model.load_state_dict(self.model)
        optimizer.load_state_dict(self.optimizer)
        return self.step


class ShallowWeights(Snapshot):
    def __init__(self, model, optimizer, step):
        super().__init__(model, optimizer, step)
        self.model = dict(model.state_dict())


class ShallowMeans(NothingCopied):
    def __init__(self, model, optimizer, step):
        super().__init__(model, optimizer, step)
        self.model = copy.deepcopy(self.model)


class WeightsOnly(Snapshot):
    def restore(self, model, optimizer):
        model.load_state_dict(self.model)
        return self.step


class SharedWeightsOnly(NothingCopied):
    def restore(self, model, optimizer):
        model.load_state_dict(self.model)
        return self.step


class MeansOnly(Snapshot):
    def restore(self, model, optimizer):
        optimizer.load_state_dict(copy.deepcopy(self.optimizer))
        return self.step


class StartsAgain(Snapshot):
    def restore(self, model, optimizer):
        return 0 * super().restore(model, optimizer)


class ForgetsReturn(Snapshot):
    def restore(self, model, optimizer):
        super().restore(model, optimizer)


class NextStep(Snapshot):
    def restore(self, model, optimizer):
        return super().restore(model, optimizer) + 1


class WorksOnce(Snapshot):
    def restore(self, model, optimizer):
        model.load_state_dict(self.model)
        optimizer.load_state_dict(self.optimizer)
        return self.step


RIGHT = {
    "ex_08_1": [rate, rate_of_the_module],
    "ex_08_2": [decayed, decayed_of_the_module],
    "ex_08_3": [accumulated],
    "ex_08_4": [Snapshot, Cloned],
}
WRONG = [
    ("ex_08_1", rate_of_the_paper, "This is the formula of the paper"),
    ("ex_08_1", piecewise(share=lambda e, n, w: e / n), "the rate jumps down"),
    ("ex_08_1", piecewise(share=lambda e, n, w: (e - w) / n), "does not reach its end"),
    ("ex_08_1", piecewise(scale=lambda a, b: 1), "did not scale the rate"),
    ("ex_08_1", piecewise(scale=lambda a, b: b / a), "upside down"),
    ("ex_08_1", piecewise(scale=lambda a, b: (a / b) ** 0.5), "not its square root"),
    ("ex_08_1", only_lr_scaled, "Scale both"),
    ("ex_08_1", piecewise(low=0.0), "Your cosine ends at 0"),
    ("ex_08_1", piecewise(start=0.0), "Your warm-up starts at 0"),
    ("ex_08_1", floor_on_top, "You added `floor`"),
    ("ex_08_1", piecewise(shape=lambda done: (1 + math.cos(2 * math.pi * done)) / 2), "whole cosine"),
    ("ex_08_1", piecewise(shape=lambda done: 1 - done), "falls along a line"),
    ("ex_08_1", without_warmup, "The warm-up is missing"),
    ("ex_08_2", filtered(lambda n, p: not n.endswith("bias")), "You leave out biases only"),
    ("ex_08_2", filtered(lambda n, p: "norm" not in n and "bias" not in n), "You go by names"),
    ("ex_08_2", filtered(lambda n, p: p.ndim > 1), "A table of biases"),
    ("ex_08_2", filtered(lambda n, p: p.ndim > 1 and "bias" not in n), "Look at the end"),
    (
        "ex_08_2",
        filtered(lambda n, p: p.ndim > 1 and not n.endswith(".bias") and "token" not in n and "pos" not in n),
        "The class token and the positions",
    ),
    (
        "ex_08_2",
        filtered(lambda n, p: p.ndim > 1 and not n.endswith(".bias") and "token" not in n),
        "The class token is decayed",
    ),
    (
        "ex_08_2",
        filtered(lambda n, p: p.ndim > 1 and not n.endswith(".bias") and "pos" not in n),
        "The positions are decayed",
    ),
    (
        "ex_08_2",
        filtered(lambda n, p: p.ndim in (2, 3) and not n.endswith(".bias") or "patch" in n and p.ndim > 1),
        "depthwise kernels",
    ),
    ("ex_08_2", linear_layers, "You decay linear layers only"),
    ("ex_08_2", filtered(lambda n, p: p.ndim > 1 and n.endswith("weight")), "is called `weight`"),
    ("ex_08_2", also_frozen, "belong to no group"),
    ("ex_08_2", filtered(lambda n, p: p.ndim < 2 or n.endswith(".bias")), "not decayed. The task wants the others"),
    ("ex_08_2", filtered(lambda n, p: True), "all trained parameters"),
    ("ex_08_3", parts_with(lambda n, count, parts: 1), "summed, so they are too large"),
    ("ex_08_3", parts_with(lambda n, count, parts: 1 / parts), "Every part counts alike"),
    ("ex_08_3", parts_with(lambda n, count, parts: n), "The task wants the mean"),
    ("ex_08_3", parts_with(share, clear="never"), "Begin with model.zero_grad()"),
    ("ex_08_3", parts_with(share, clear="always"), "before the loop"),
    ("ex_08_3", joined, "You joined the parts"),
    ("ex_08_3", one_backward, "Call backward() for every part"),
    (
        "ex_08_3",
        parts_with(share, back=lambda model, parts: sum(mean_losses(model, parts)) / len(parts)),
        "not over parts",
    ),
    ("ex_08_3", parts_with(share, back=lambda model, parts: sum(mean_losses(model, parts))), "sum over the parts"),
    ("ex_08_3", parts_with(share, back=lambda model, parts: mean_losses(model, parts)[-1]), "not of the last part"),
    ("ex_08_3", steps, "You changed the weights"),
    ("ex_08_4", NothingCopied, "Your snapshot has no copies"),
    ("ex_08_4", ShallowWeights, "The weights in your snapshot change"),
    ("ex_08_4", ShallowMeans, "The means of AdamW in your snapshot change"),
    ("ex_08_4", WeightsOnly, "AdamW begins with empty means"),
    ("ex_08_4", SharedWeightsOnly, "and remember the optimizer, too"),
    ("ex_08_4", MeansOnly, "The weights are not restored"),
    ("ex_08_4", StartsAgain, "the step that the training had reached"),
    ("ex_08_4", ForgetsReturn, "restore returns nothing"),
    ("ex_08_4", NextStep, "one too far"),
    ("ex_08_4", WorksOnce, "the second is not"),
]


test_stub_is_not_attempted, test_right_answers_pass, test_wrong_answers_get_their_hint = answer_tests(RIGHT, WRONG)


def test_parameters_in_place_of_names_are_reported():
    report = check.ex_08_2(lambda model: list(model.parameters()))
    assert not report.ok
    assert "names" in report.text


def test_a_name_twice_is_reported():
    report = check.ex_08_2(lambda model: [*decayed(model), "head.weight"])
    assert not report.ok
    assert "twice" in report.text


def test_a_loss_with_its_graph_is_reported():
    def keeps_tensor(model, parts):
        return torch.tensor(accumulated(model, parts))

    report = check.ex_08_3(keeps_tensor)
    assert not report.ok
    assert ".item()" in report.text
