"""Equal to torchvision and PyTorchVideo: same weights, same logits, same gradients."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models.video import mvit_v1_b
from torchvision.models.video.mvit import PositionalEncoding

from mvit_edu import MViT, get_config, load_weights, to_native

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorchVideo still uses torch.jit.script
    from pytorchvideo.models.hub import vision_transformers as pytorchvideo


def from_torchvision(crop: int = 224, frames: int = 16) -> nn.Module:
    """torchvision's model; its builder has one size, but only the positions depend on it."""
    model = mvit_v1_b(stochastic_depth_prob=0.0, dropout=0.0)
    model.pos_encoding = PositionalEncoding(96, (crop // 4, crop // 4), frames // 2, rel_pos_embed=False)
    return model


def from_pytorchvideo(name: str, **size: int) -> nn.Module:
    """PyTorchVideo's model; release 0.1.5 has eps 1e-5 in the pooling's norms, its main branch and all others 1e-6."""
    size = {f"{'spatial' if what == 'crop' else 'temporal'}_size": value for what, value in size.items()}
    rates = dict.fromkeys(("droppath_rate_block", "dropout_rate_block", "head_dropout_rate"), 0.0)
    model = getattr(pytorchvideo, name)(**rates, **size)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    return model


IMAGE = replace(get_config("mvit_b_16_in1k"), position="separate", num_classes=400)
CASES = {
    "torchvision mvit_v1_b": (from_torchvision, get_config("mvit_b_16x4")),
    "pytorchvideo mvit_base_16x4": (partial(from_pytorchvideo, "mvit_base_16x4"), get_config("mvit_b_16x4")),
    "pytorchvideo mvit_base_16": (partial(from_pytorchvideo, "mvit_base_16"), IMAGE),
    "pytorchvideo mvit_base_32x3": (partial(from_pytorchvideo, "mvit_base_32x3"), get_config("mvit_b_32x3")),
}


def with_the_same_weights(make, config, **size: int) -> tuple[nn.Module, nn.Module]:
    """Theirs and ours."""
    torch.manual_seed(0)
    theirs = make(**size).train()
    for parameter in theirs.parameters():  # tables that start at zero would hide mistakes
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    ours = MViT(replace(config, drop_path=0.0, dropout=0.0, **size)).train()
    report = load_weights(ours, theirs.state_dict())
    assert report.loaded == len(ours.state_dict()) and not report.missing and not report.unexpected
    return theirs, ours


def as_they_take_it(clip: torch.Tensor) -> torch.Tensor:
    return clip[:, :, 0] if clip.shape[2] == 1 else clip  # an image model of PyTorchVideo takes (B, C, H, W)


@pytest.mark.parametrize("case", CASES)
def test_logits_are_equal_in_float32(case):
    theirs, ours = with_the_same_weights(*CASES[case])
    clip = torch.randn(1, 3, *ours.config.size)
    with torch.no_grad():
        assert (ours(clip) - theirs(as_they_take_it(clip))).abs().max() <= 1e-5


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_equal(case):
    """In float64: in float32 a rounding error can change which token wins a max-pooling, in theirs as in ours.

    On smaller clips, which cost a tenth of the time. All weights but the tables of positions have the same shapes.
    """
    make, config = CASES[case]
    theirs, ours = with_the_same_weights(make, config, crop=96, frames=min(config.frames, 8))
    theirs, ours = theirs.double(), ours.double()
    clip = torch.randn(1, 3, *ours.config.size, dtype=torch.float64)
    cotangent = torch.randn(1, config.num_classes, dtype=torch.float64)
    theirs(as_they_take_it(clip)).backward(cotangent)
    ours(clip).backward(cotangent)
    gradients = to_native({name: parameter.grad for name, parameter in theirs.named_parameters()})
    assert set(gradients) == set(dict(ours.named_parameters()))
    for key, parameter in ours.named_parameters():
        if key.endswith("pool_k.norm.bias"):
            # One vector added to every key changes no attention weight: this gradient is zero but for rounding.
            scale = ours.get_parameter(key.replace("bias", "weight")).grad.norm()
            assert parameter.grad.norm() <= 1e-9 * scale and gradients[key].norm() <= 1e-9 * scale, key
        else:
            difference = (parameter.grad - gradients[key]).norm() / gradients[key].norm()
            assert difference <= 1e-9, (key, difference)
