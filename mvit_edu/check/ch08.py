"""Checks of Chapter 8: the rate of an epoch, what is decayed, small batches for a large one, a snapshot."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mvit_edu.check.core import Case, Draw, Exercise, Mistake
from mvit_edu.model.mvit import create_model


# 8.1: the rate of an epoch
def _rate(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    return _scheduled(epoch, lr, floor, epochs, warmup) * clips / lr_clips


def _scheduled(epoch, lr, floor, epochs, warmup):
    if epoch < warmup:
        return floor + (lr - floor) * epoch / warmup
    return floor + (lr - floor) * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup))) / 2


def _formula(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    top = _scheduled(warmup, lr, floor, epochs, 0)
    rate = floor + (top - floor) * epoch / warmup if epoch < warmup else _scheduled(epoch, lr, floor, epochs, 0)
    return rate * clips / lr_clips


def _cosine_of_all_epochs(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    rate = _scheduled(epoch, lr, floor, epochs, warmup if epoch < warmup else 0)
    return rate * clips / lr_clips


def _divided_by_all_epochs(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    late = epoch >= warmup
    rate = _scheduled(epoch - warmup, lr, floor, epochs, 0) if late else _scheduled(epoch, lr, floor, epochs, warmup)
    return rate * clips / lr_clips


def _not_scaled(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    return _scheduled(epoch, lr, floor, epochs, warmup)


def _scaled_inversely(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    return _scheduled(epoch, lr, floor, epochs, warmup) * lr_clips / clips


def _scaled_by_root(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    return _scheduled(epoch, lr, floor, epochs, warmup) * math.sqrt(clips / lr_clips)


def _floor_not_scaled(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    return _scheduled(epoch, lr * clips / lr_clips, floor, epochs, warmup)


def _no_floor(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    start = floor if epoch < warmup else 0.0
    return _scheduled(epoch, lr, start, epochs, warmup) * clips / lr_clips


def _from_zero(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    start = 0.0 if epoch < warmup else floor
    return _scheduled(epoch, lr, start, epochs, warmup) * clips / lr_clips


def _floor_added(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    return (floor + _scheduled(epoch, lr, 0.0, epochs, warmup)) * clips / lr_clips


def _whole_cosine(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    if epoch < warmup:
        return _rate(epoch, lr, floor, epochs, warmup, clips, lr_clips)
    share = (epoch - warmup) / (epochs - warmup)
    return (floor + (lr - floor) * (1 + math.cos(2 * math.pi * share)) / 2) * clips / lr_clips


def _straight(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    if epoch < warmup:
        return _rate(epoch, lr, floor, epochs, warmup, clips, lr_clips)
    share = (epoch - warmup) / (epochs - warmup)
    return (floor + (lr - floor) * (1 - share)) * clips / lr_clips


def _no_warmup(epoch, lr, floor, epochs, warmup, clips, lr_clips):
    return _scheduled(epoch, lr, floor, epochs, 0) * clips / lr_clips


def _as_number(answer: Any, *args: Any) -> Any:
    """A tensor with one number is as good as the number."""
    found = answer(*args)
    return found.item() if isinstance(found, torch.Tensor) and found.numel() == 1 else found


ex_08_1 = Exercise(
    "8.1",
    reference=_rate,
    cases=lambda draw: [
        Case("in the warm-up, 512 clips", draw.integer(5, 25) + 0.5, 1.6e-3, 1.6e-5, 200, 30, 512, 512),
        Case("first step", 0.0, 1.6e-3, 1.6e-5, 200, 30, 512, 512),
        Case("the peak", 30.0, 1.6e-3, 1.6e-5, 200, 30, 512, 512),
        Case("on the cosine", draw.integer(60, 100) + 0.25, 1.6e-3, 1.6e-5, 200, 30, 512, 512),
        Case("the end", 200.0, 1.6e-3, 1.6e-5, 200, 30, 512, 512),
        Case("64 clips a step", 80.0, 1.6e-3, 1.6e-5, 200, 30, 64, 512),
        Case("no warm-up", 3.0, 1e-3, 1e-5, 12, 0, 96, 32),
    ],
    build=_as_number,
    rtol=1e-6,
    atol=1e-12,
    mistakes=(
        Mistake(
            "This is the formula of the paper: its cosine runs over all epochs, and the warm-up leads up to its value "
            "there. In the released code the cosine begins where the warm-up ends, at `lr`.",
            _formula,
        ),
        Mistake(
            "Your cosine has begun at epoch 0, so that the rate jumps down where the warm-up ends. The share that is "
            "done is (epoch - warmup) / (epochs - warmup).",
            _cosine_of_all_epochs,
        ),
        Mistake(
            "Your cosine does not reach its end: after the warm-up only epochs - warmup epochs are left to divide by.",
            _divided_by_all_epochs,
        ),
        Mistake("You did not scale the rate to the clips of a step: times clips / lr_clips.", _not_scaled),
        Mistake("The scale is upside down: more clips a step, a higher rate.", _scaled_inversely),
        Mistake("The rule is linear: times clips / lr_clips, not its square root.", _scaled_by_root),
        Mistake(
            "`floor` holds for lr_clips clips a step, as `lr` does. Scale both, at the very end.", _floor_not_scaled
        ),
        Mistake("Your cosine ends at 0. It should end at `floor`: floor + (lr - floor) * ...", _no_floor),
        Mistake("Your warm-up starts at 0. It should start at `floor`.", _from_zero),
        Mistake(
            "You added `floor` to a schedule that goes up to `lr`. The schedule goes from floor to lr and back: "
            "floor + (lr - floor) * ...",
            _floor_added,
        ),
        Mistake("You took a whole cosine, down and up again. Half of one goes from 0 to pi.", _whole_cosine),
        Mistake("After the warm-up your rate falls along a line. It should be half a cosine.", _straight),
        Mistake("The warm-up is missing: before epoch `warmup` the rate grows along a line.", _no_warmup),
    ),
)


# 8.2: what is decayed
class _Odd(nn.Module):
    """What a rule by names or by kinds of layers gets wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.gamma = nn.Parameter(torch.ones(4))  # one axis, and neither a norm nor a bias
        self.offsets = nn.Parameter(torch.zeros(3, 4))  # two axes, and no weight by name
        self.bias_mix = nn.Linear(4, 4)
        self.relative = nn.Module()
        self.relative.bias = nn.Parameter(torch.zeros(2, 7))  # a table of biases
        self.frozen = nn.Linear(4, 3)
        self.frozen.requires_grad_(False)


def _decayed(model):
    return [n for n, p in model.named_parameters() if p.requires_grad and p.ndim > 1 and not n.endswith(".bias")]


def _all_but_biases(model):
    return [n for n, p in model.named_parameters() if p.requires_grad and not n.endswith("bias")]


def _by_axes_only(model):
    return [n for n, p in model.named_parameters() if p.requires_grad and p.ndim > 1]


def _without_tokens(model):
    return [n for n in _decayed(model) if "cls_token" not in n and "pos_embed" not in n]


def _without_class_token(model):
    return [n for n in _decayed(model) if "cls_token" not in n]


def _without_positions(model):
    return [n for n in _decayed(model) if "pos_embed" not in n]


def _without_poolings(model):
    return [n for n in _decayed(model) if "pool" not in n]


def _linear_only(model):
    linear = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return [n for n in _decayed(model) if n in linear]


def _weights_only(model):
    return [n for n in _decayed(model) if n.endswith("weight")]


def _no_bias_in_name(model):
    return [n for n, p in model.named_parameters() if p.requires_grad and p.ndim > 1 and "bias" not in n]


def _by_names(model):
    return [n for n, p in model.named_parameters() if p.requires_grad and "norm" not in n and "bias" not in n]


def _frozen_too(model):
    return [n for n, p in model.named_parameters() if p.ndim > 1 and not n.endswith(".bias")]


def _the_others(model):
    decayed = set(_decayed(model))
    return [n for n, p in model.named_parameters() if p.requires_grad and n not in decayed]


def _everything(model):
    return [n for n, p in model.named_parameters() if p.requires_grad]


def _sorted_names(answer: Any, model: nn.Module) -> Any:
    """Lists, tuples, sets and generators of names are equally good."""
    found = answer(model)
    if found is None or isinstance(found, str | torch.Tensor):
        return found
    found = list(found)
    return sorted(found) if all(isinstance(name, str) for name in found) else found


def _names_differ(expected: list[str], got: Any) -> str | None:
    if not isinstance(got, list) or not all(isinstance(name, str) for name in got):
        return "it should return names, such as ['head.weight'], not tensors."
    missing, extra = ([n for n in a if n not in b] for a, b in ((expected, got), (got, expected)))
    parts = [f"{len(missing)} names are missing, such as {missing[0]!r}"] if missing else []
    parts += [f"{len(extra)} names should not be there, such as {extra[0]!r}"] if extra else []
    if not parts and got != expected:
        parts = ["a name is there twice"]
    return f"{', and '.join(parts)}." if parts else None


def _models(draw: Draw) -> list[Case]:
    small = create_model("mvit_tiny", crop=16, dim=8, depths=(1, 1), kv_stride=(1, 2, 2))
    tuned = copy.deepcopy(small)
    for block in tuned.blocks:
        block.requires_grad_(False)
    return [
        Case("a small MViT", small),
        Case("its blocks frozen", tuned),
        Case("an odd model", _Odd()),
    ]


ex_08_2 = Exercise(
    "8.2",
    reference=_decayed,
    cases=_models,
    build=_sorted_names,
    compare=_names_differ,
    mistakes=(
        Mistake(
            "You leave out biases only. The scales of norms have one axis, too, and are called `weight`: look at "
            "p.ndim.",
            _all_but_biases,
        ),
        Mistake(
            "You go by names. One-axis parameters have any name (a learned scale may be called gamma), and a layer's "
            "name may hold the word bias: look at p.ndim, and at the end of the name.",
            _by_names,
        ),
        Mistake(
            "A table of biases has two axes and is no weight. The rule leaves out what ends in `.bias`, too.",
            _by_axes_only,
        ),
        Mistake(
            "The word bias stands in the name of a layer here, and its weight is a weight. Look at the end: "
            "name.endswith('.bias').",
            _no_bias_in_name,
        ),
        Mistake(
            "The class token and the positions are decayed in the released code: they have more than one axis.",
            _without_tokens,
        ),
        Mistake("The class token is decayed in the released code: it has more than one axis.", _without_class_token),
        Mistake("The positions are decayed in the released code: they have more than one axis.", _without_positions),
        Mistake("The depthwise kernels of the poolings are decayed, too: they have five axes.", _without_poolings),
        Mistake(
            "You decay linear layers only. Everything with more than one axis is decayed: the cube convolution, the "
            "poolings, the class token, the positions.",
            _linear_only,
        ),
        Mistake(
            "Not every parameter with several axes is called `weight`: the class token and the positions are not.",
            _weights_only,
        ),
        Mistake("Parameters with requires_grad False are not trained and belong to no group.", _frozen_too),
        Mistake("These are the names that are not decayed. The task wants the others.", _the_others),
        Mistake("These are all trained parameters. Those with one axis, and biases, are not decayed.", _everything),
    ),
)


# 8.3: one large batch from small ones
def _accumulated(model, parts):
    model.zero_grad()
    return _add_up(model, parts)


def _add_up(model, parts):
    count = sum(len(labels) for _, labels in parts)
    total = 0.0
    for clips, labels in parts:
        loss = F.cross_entropy(model(clips), labels, reduction="sum") / count
        loss.backward()
        total += loss.item()
    return total


def _scaled_parts(model, parts, scale):
    model.zero_grad()
    total = 0.0
    for clips, labels in parts:
        loss = F.cross_entropy(model(clips), labels) * scale(len(labels))
        loss.backward()
        total += loss.item()
    return total


def _not_divided(model, parts):
    return _scaled_parts(model, parts, lambda count: 1.0)


def _parts_alike(model, parts):
    return _scaled_parts(model, parts, lambda count: 1 / len(parts))


def _sum_of_all(model, parts):
    return _scaled_parts(model, parts, lambda count: count)


def _old_gradients(model, parts):
    return _add_up(model, parts)


def _last_only(model, parts):
    count = sum(len(labels) for _, labels in parts)
    total = 0.0
    for clips, labels in parts:
        model.zero_grad()
        loss = F.cross_entropy(model(clips), labels, reduction="sum") / count
        loss.backward()
        total += loss.item()
    return total


def _joined(model, parts):
    model.zero_grad()
    clips, labels = (torch.cat(one) for one in zip(*parts, strict=True))
    loss = F.cross_entropy(model(clips), labels)
    loss.backward()
    return loss.item()


def _one_backward(model, parts):
    model.zero_grad()
    count = sum(len(labels) for _, labels in parts)
    loss = sum(F.cross_entropy(model(clips), labels, reduction="sum") for clips, labels in parts) / count
    loss.backward()
    return loss.item()


@torch.no_grad()
def _means(model, parts):
    return [F.cross_entropy(model(clips), labels).item() for clips, labels in parts]


def _mean_of_losses(model, parts):
    _accumulated(model, parts)
    return sum(_means(model, parts)) / len(parts)


def _sum_of_losses(model, parts):
    _accumulated(model, parts)
    return sum(_means(model, parts))


def _loss_of_last(model, parts):
    _accumulated(model, parts)
    return _means(model, parts)[-1]


def _takes_step(model, parts):
    total = _accumulated(model, parts)
    with torch.no_grad():
        for p in model.parameters():
            p -= 0.1 * p.grad
    return total


class _Watched(nn.Module):
    """A linear classifier that knows its largest batch, and how many graphs were kept at once."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.head = nn.Linear(24, 4)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(4, 24, generator=generator) / 5)
            self.head.bias.zero_()
        self.largest, self.open, self.most_open = 0, 0, 0

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        self.largest = max(self.largest, len(clips))
        logits = self.head(clips.flatten(1))  # (B, 4)
        if logits.requires_grad:
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            logits.register_hook(self._closed)
        return logits

    def _closed(self, gradient: torch.Tensor) -> None:
        self.open -= 1


def _left_behind(answer: Any, parts: list, stale: bool) -> dict[str, Any]:
    """What a call leaves: loss, gradients, whether weights moved, and how much it held at a time."""
    model = _Watched()
    before = [p.detach().clone() for p in model.parameters()]
    if stale:
        for p in model.parameters():
            p.grad = torch.ones_like(p)
    loss = answer(model, parts)
    zeros = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return {
        "gradients": torch.cat([gradient.flatten() for gradient in zeros]),
        "loss": loss,
        "weights moved": not all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True)),
        "parts joined": model.largest > max(len(labels) for _, labels in parts),
        "one part at a time": model.most_open <= 1,
    }


def _parts(draw: Draw, *sizes: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(draw.normal(n, 3, 2, 2, 2), torch.tensor([draw.integer(0, 3) for _ in range(n)])) for n in sizes]


ex_08_3 = Exercise(
    "8.3",
    reference=_accumulated,
    cases=lambda draw: [
        Case("two parts of 4 clips", _parts(draw, 4, 4), False),
        Case("parts of 5, 5 and 2 clips", _parts(draw, 5, 5, 2), False),
        Case("old gradients are there", _parts(draw, 3, 1), True),
    ],
    build=_left_behind,
    mistakes=(
        Mistake(
            "The gradients of the parts are summed, so they are too large. Each part counts with its share of the "
            "clips.",
            _not_divided,
        ),
        Mistake(
            "Every part counts alike, but they differ in size: a clip of a small part gets too much weight. Weigh "
            "each mean by the part's share of all clips.",
            _parts_alike,
        ),
        Mistake("This is the sum over all clips. The task wants the mean: divide by their number.", _sum_of_all),
        Mistake(
            "Old gradients are still in the model, and backward() adds to them. Begin with model.zero_grad().",
            _old_gradients,
        ),
        Mistake(
            "Only the gradients of the last part are left: zero_grad() belongs before the loop, not into it.",
            _last_only,
        ),
        Mistake("You joined the parts into one batch, which does not fit into memory.", _joined),
        Mistake(
            "You add up the losses and call backward() once. Then what all parts keep for it is in memory at once. "
            "Call backward() for every part.",
            _one_backward,
        ),
        Mistake("The gradients are right. The loss is the mean over clips, not over parts.", _mean_of_losses),
        Mistake("The gradients are right. The loss is a mean, and yours is the sum over the parts.", _sum_of_losses),
        Mistake("The gradients are right. The loss is that of all clips, not of the last part.", _loss_of_last),
        Mistake("You changed the weights. Leave the step to the optimizer.", _takes_step),
    ),
)


# 8.4: a checkpoint in memory
class _Snapshot:
    def __init__(self, model, optimizer, step):
        self.weights = copy.deepcopy(model.state_dict())
        self.means = copy.deepcopy(optimizer.state_dict())
        self.step = step

    def restore(self, model, optimizer):
        model.load_state_dict(self.weights)
        optimizer.load_state_dict(copy.deepcopy(self.means))
        return self.step


class _SharedWeights(_Snapshot):
    def __init__(self, model, optimizer, step):
        super().__init__(model, optimizer, step)
        self.weights = model.state_dict()


class _SharedMeans(_Snapshot):
    def __init__(self, model, optimizer, step):
        super().__init__(model, optimizer, step)
        self.means = optimizer.state_dict()


class _SharedMeansToTheEnd(_SharedMeans):
    def restore(self, model, optimizer):
        model.load_state_dict(self.weights)
        optimizer.load_state_dict(self.means)
        return self.step


class _SharedBoth(_SharedWeights):
    def __init__(self, model, optimizer, step):
        super().__init__(model, optimizer, step)
        self.means = optimizer.state_dict()


class _SharedBothToTheEnd(_SharedBoth):
    def restore(self, model, optimizer):
        model.load_state_dict(self.weights)
        optimizer.load_state_dict(self.means)
        return self.step


class _WithoutMeans(_Snapshot):
    def restore(self, model, optimizer):
        model.load_state_dict(self.weights)
        return self.step


class _SharedWithoutMeans(_SharedWeights):
    def restore(self, model, optimizer):
        model.load_state_dict(self.weights)
        return self.step


class _WithoutWeights(_Snapshot):
    def restore(self, model, optimizer):
        optimizer.load_state_dict(copy.deepcopy(self.means))
        return self.step


class _FromZero(_Snapshot):
    def restore(self, model, optimizer):
        super().restore(model, optimizer)
        return 0


class _NoStep(_Snapshot):
    def restore(self, model, optimizer):
        super().restore(model, optimizer)


class _OneTooFar(_Snapshot):
    def restore(self, model, optimizer):
        return super().restore(model, optimizer) + 1


class _OnceOnly(_Snapshot):
    def restore(self, model, optimizer):
        model.load_state_dict(self.weights)
        optimizer.load_state_dict(self.means)
        return self.step


def _training(seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 3))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / 3)
    return model, torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.05)


def _train(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> torch.Tensor:
    """Steps `first` to `last`; what a step sees follows from its number. Returns all weights."""
    for step in range(first, last):
        generator = torch.Generator().manual_seed(step)
        clips = torch.randn(5, 6, generator=generator)
        labels = torch.randint(3, (5,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(clips), labels).backward()
        optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def _restored(cls: Any, stop: int, end: int) -> dict[str, Any]:
    """Train, remember after step `stop`, train on; then restore twice and train to `end`."""
    model, optimizer = _training(0)
    _train(model, optimizer, 0, stop)
    snapshot = cls(model, optimizer, stop)
    found: dict[str, Any] = {"weights of the training itself": _train(model, optimizer, stop, end)}
    for which in ("first", "second"):
        model, optimizer = _training(7)
        step = snapshot.restore(model, optimizer)
        found[f"step, {which} time"] = step
        whole = isinstance(step, int) and 0 <= step <= end
        found[f"weights after going on, {which} time"] = _train(model, optimizer, step if whole else end, end)
    return found


ex_08_4 = Exercise(
    "8.4",
    reference=_Snapshot,
    cases=lambda draw: [
        Case("5 steps, then 4 more", 5, 9),
        Case("1 step, then 2 more", 1, 3),
        Case("before the first step", 0, 3),
    ],
    build=_restored,
    rtol=0.0,
    atol=0.0,
    mistakes=(
        *(
            Mistake(
                "Your snapshot has no copies: state_dict() gives the tensors themselves, and the steps that follow "
                "change them. Copy both with copy.deepcopy.",
                wrong,
            )
            for wrong in (_SharedBoth, _SharedBothToTheEnd)
        ),
        Mistake(
            "The weights in your snapshot change with the training: model.state_dict() gives the tensors themselves. "
            "Copy it with copy.deepcopy.",
            _SharedWeights,
        ),
        *(
            Mistake(
                "The means of AdamW in your snapshot change with the training: optimizer.state_dict() gives the "
                "tensors themselves. Copy it with copy.deepcopy.",
                wrong,
            )
            for wrong in (_SharedMeans, _SharedMeansToTheEnd)
        ),
        Mistake(
            "The optimizer is not restored, so AdamW begins with empty means. Remember and load its state_dict, too.",
            _WithoutMeans,
        ),
        Mistake(
            "The optimizer is not restored, and the weights in your snapshot change with the training: state_dict() "
            "gives the tensors themselves. Copy it with copy.deepcopy, and remember the optimizer, too.",
            _SharedWithoutMeans,
        ),
        Mistake("The weights are not restored: model.load_state_dict.", _WithoutWeights),
        Mistake("restore should return the step that the training had reached.", _FromZero),
        Mistake("restore returns nothing. It should return the step.", _NoStep),
        Mistake(
            "The step is one too far: after n steps the next one has number n, counted from 0.",
            _OneTooFar,
        ),
        Mistake(
            "The first time is right, the second is not: optimizer.load_state_dict takes over your tensors, and the "
            "training changes them. Give it a copy.",
            _OnceOnly,
        ),
    ),
)
