"""Equal to torchvision and PyTorchVideo: same weights, same logits, same gradients."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models.video import mvit_v1_b

from mvit_edu import MViT, get_config, load_weights, to_native

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # PyTorchVideo still uses torch.jit.script
    from pytorchvideo.models.hub import vision_transformers as pytorchvideo


def torchvision_16x4() -> nn.Module:
    return mvit_v1_b(stochastic_depth_prob=0.0, dropout=0.0)


def from_pytorchvideo(name: str) -> nn.Module:
    """PyTorchVideo's model; release 0.1.5 has eps 1e-5 in the pooling's norms, its main branch and all others 1e-6."""
    model = getattr(pytorchvideo, name)(droppath_rate_block=0.0, dropout_rate_block=0.0, head_dropout_rate=0.0)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    return model


IMAGE = replace(get_config("mvit_b_16_in1k"), position="separate", num_classes=400)
CASES = {
    "torchvision mvit_v1_b": (torchvision_16x4, get_config("mvit_b_16x4")),
    "pytorchvideo mvit_base_16x4": (lambda: from_pytorchvideo("mvit_base_16x4"), get_config("mvit_b_16x4")),
    "pytorchvideo mvit_base_16": (lambda: from_pytorchvideo("mvit_base_16"), IMAGE),
    "pytorchvideo mvit_base_32x3": (lambda: from_pytorchvideo("mvit_base_32x3"), get_config("mvit_b_32x3")),
}


@pytest.fixture(scope="module", params=CASES)
def pair(request):
    """Theirs and ours with the same weights, and a clip."""
    make, config = CASES[request.param]
    torch.manual_seed(0)
    theirs = make().train()
    for parameter in theirs.parameters():  # tables that start at zero would hide mistakes
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    ours = MViT(replace(config, drop_path=0.0, dropout=0.0)).train()
    report = load_weights(ours, theirs.state_dict())
    assert report.loaded == len(ours.state_dict()) and not report.missing and not report.unexpected
    return theirs, ours, torch.randn(1, 3, *config.size)


def as_they_take_it(clip: torch.Tensor) -> torch.Tensor:
    return clip[:, :, 0] if clip.shape[2] == 1 else clip  # an image model of PyTorchVideo takes (B, C, H, W)


def test_logits_are_equal_in_float32(pair):
    theirs, ours, clip = pair
    with torch.no_grad():
        assert (ours.float()(clip) - theirs.float()(as_they_take_it(clip))).abs().max() <= 1e-5


def test_gradients_are_equal(pair):
    """In float64: in float32 a rounding error can change which token wins a max-pooling, in theirs as in ours."""
    theirs, ours, clip = pair
    if ours.config.frames > 16:
        pytest.skip("takes three minutes; its blocks are those of the model of 16 frames")
    theirs, ours, clip = theirs.double(), ours.double(), clip.double()
    cotangent = torch.randn(1, ours.config.num_classes, dtype=torch.float64)
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
