"""Chapter 6: the whole model."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mvit_edu.model.blocks import MultiscaleBlock
from mvit_edu.model.config import MViTConfig
from mvit_edu.model.embed import CubeEmbed, PositionEmbedding
from mvit_edu.model.pooling import LAYER_NORM_EPS, Size3
from mvit_edu.model.presets import get_config


class MViT(nn.Module):
    """A Multiscale Vision Transformer, or with one stage a ViT, built block by block from its config. Chapter 6.

    Set ``checkpoint_blocks`` to n to recompute the first n blocks in the backward pass instead of keeping what they
    need for it; in MViT-B 16x4 the first four hold half of that (Chapter 5).
    """

    def __init__(self, config: MViTConfig):
        super().__init__()
        self.config = config
        self.checkpoint_blocks = 0
        self.patch_embed = CubeEmbed(
            config.in_channels, config.dim, config.cube_kernel, config.cube_stride, config.padding
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim)) if config.cls_token else None
        self.pos_embed = PositionEmbedding(config.position, config.thw, config.dim, config.cls_token)
        self.blocks = nn.ModuleList(MultiscaleBlock(**spec.module_kwargs()) for spec in config.blocks)
        dim = config.blocks[-1].dim_out
        self.norm = nn.LayerNorm(dim, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(dim, config.num_classes)
        self.init_weights()

    def init_weights(self) -> None:
        """As at release in 2021: linear weights and class token truncated normal, biases 0, convolutions untouched."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.cls_token is not None:
            nn.init.trunc_normal_(self.cls_token, std=0.02)

    def tokens(self, clip: Tensor) -> tuple[Tensor, Size3]:
        """``clip`` (B, C, T, H, W) -> what the last block returns, (B, [1 +] T'*H'*W', D), and (T', H', W')."""
        x, thw = self.patch_embed(self.checked(clip))  # (B, T'*H'*W', dim)
        if self.cls_token is not None:
            # times 1: with one clip, this gradient would be the same memory as pos_embed.cls's, and be clipped twice
            first = 1 * self.cls_token.expand(x.shape[0], -1, -1)  # (B, 1, dim)
            x = torch.cat([first, x], dim=1)  # (B, 1 + T'*H'*W', dim)
        x = self.pos_embed(x)
        for index, block in enumerate(self.blocks):
            if index < self.checkpoint_blocks and torch.is_grad_enabled():
                x, thw = checkpoint(block, x, thw, use_reentrant=False)
            else:
                x, thw = block(x, thw)
        return x, thw

    def features(self, clip: Tensor) -> tuple[Tensor, Size3]:
        """Normalized tokens for other heads: ``clip`` (B, C, T, H, W) -> (B, [1 +] T'*H'*W', D) and (T', H', W')."""
        x, thw = self.tokens(clip)
        return self.norm(x), thw

    def forward(self, clip: Tensor) -> Tensor:
        """``clip`` (B, C, T, H, W), normalized -> logits (B, num_classes), in training and in evaluation alike.

        A model of one frame also takes images (B, C, H, W).

        Raises:
            TypeError: pixels that are not floating point.
            ValueError: another shape than the config's.
        """
        x, _ = self.tokens(clip)
        x = self.norm(x[:, 0]) if self.cls_token is not None else self.norm(x).mean(dim=1)  # (B, D)
        return self.head(self.dropout(x))

    def checked(self, clip: Tensor) -> Tensor:
        """The clip as (B, C, T, H, W), or one sentence that says what is wrong with it."""
        config = self.config
        if config.frames == 1 and clip.ndim == 4:
            clip = clip.unsqueeze(2)  # (B, C, 1, H, W)
        wanted = (config.in_channels, *config.size)
        if clip.ndim != 5 or tuple(clip.shape[1:]) != wanted:
            hint = "resize the clip"
            if clip.ndim == 4 and tuple(clip.shape) == wanted:
                hint = "add the batch dimension: clip[None]"
            elif clip.ndim == 5 and clip.shape[1] == config.in_channels:
                frames, height, width = clip.shape[2:]
                hint = f"resize the clip, or create the model with frames={frames}, crop=({height}, {width})"
            elif clip.ndim == 5 and clip.shape[-1] == config.in_channels:
                hint = "put the channels second: clip.permute(0, 4, 1, 2, 3)"
            elif clip.ndim == 5 and clip.shape[2] == config.in_channels:
                hint = "put the channels before the frames: clip.transpose(1, 2)"
            raise ValueError(
                f"the clip has shape {tuple(clip.shape)}, this model wants (batch, {', '.join(map(str, wanted))}) "
                f"for (batch, channels, frames, height, width); {hint}"
            )
        if not clip.is_floating_point():
            raise TypeError(
                f"the clip holds {clip.dtype}, this model wants floating point; divide by 255, subtract the mean 0.45 "
                "and divide by the standard deviation 0.225"
            )
        return clip


def create_model(name: str, **overrides) -> MViT:
    """A preset with random weights; ``overrides`` replace fields of its ``MViTConfig``. Chapter 6.

    Raises:
        ValueError: no such preset, or a value that no model can have.
        TypeError: an override that is not a field of ``MViTConfig``.
    """
    config = get_config(name)
    fields = [field.name for field in dataclasses.fields(MViTConfig)]
    unknown = sorted(set(overrides) - set(fields))
    if unknown:
        raise TypeError(f"MViTConfig has no field {', '.join(map(repr, unknown))}; its fields are {', '.join(fields)}")
    return MViT(dataclasses.replace(config, **overrides))
