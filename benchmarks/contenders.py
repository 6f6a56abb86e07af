"""The same model three times: ours, torchvision's and PyTorchVideo's, with the same weights."""

from __future__ import annotations

import warnings
from dataclasses import replace

from torch import nn
from torchvision.models.video.mvit import MSBlockConfig
from torchvision.models.video.mvit import MViT as TorchvisionMViT

from mvit_edu import MViT, MViTConfig, load_weights

OURS = "mvit_edu"


def contenders(config: MViTConfig) -> dict[str, nn.Module]:
    """Three models of one config, without stochastic depth and dropout, sharing ours's weights."""
    config = replace(config, drop_path=0.0, dropout=0.0)
    models = {"torchvision": torchvision_twin(config), "PyTorchVideo": pytorchvideo_twin(config)}
    ours = MViT(config)
    for model in models.values():  # strict: a twin of another architecture would not load
        load_weights(ours, model.state_dict())
    return {OURS: ours, **models}


def torchvision_twin(config: MViTConfig) -> nn.Module:
    """torchvision's MViT v1 with the blocks of ``config``."""
    settings = [
        MSBlockConfig(
            num_heads=b.heads,
            input_channels=b.dim,
            output_channels=b.dim_out,
            kernel_q=list(b.q_kernel or ()),
            kernel_kv=list(b.kv_kernel or ()),
            stride_q=list(b.q_stride if b.q_kernel else ()),
            stride_kv=list(b.kv_stride if b.kv_kernel else ()),
        )
        for b in config.blocks
    ]
    return TorchvisionMViT(
        spatial_size=config.size[1:],
        temporal_size=config.frames,
        block_setting=settings,
        residual_pool=False,
        residual_with_cls_embed=False,
        rel_pos_embed=False,
        proj_after_attn=False,
        attention_dropout=0.0,
        stochastic_depth_prob=0.0,
        dropout=0.0,
        num_classes=config.num_classes,
        patch_embed_kernel=config.cube_kernel,
        patch_embed_stride=config.cube_stride,
        patch_embed_padding=config.padding,
    )


def pytorchvideo_twin(config: MViTConfig) -> nn.Module:
    """PyTorchVideo's MViT with the blocks of ``config``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it still uses torch.jit.script
        from pytorchvideo.models.vision_transformers import create_multiscale_vision_transformers
    starts = [b.index for b in config.blocks if b.q_kernel]
    return create_multiscale_vision_transformers(
        spatial_size=config.size[1:],
        temporal_size=config.frames,
        depth=len(config.blocks),
        patch_embed_dim=config.dim,
        conv_patch_embed_kernel=config.cube_kernel,
        conv_patch_embed_stride=config.cube_stride,
        conv_patch_embed_padding=config.padding,
        embed_dim_mul=[[i, config.dim_mul] for i in starts],
        atten_head_mul=[[i, config.dim_mul] for i in starts],
        pool_q_stride_size=[[i, *config.q_stride] for i in starts],
        pool_kv_stride_adaptive=list(config.kv_stride),
        pool_kvq_kernel=list(config.pool_kernel),
        num_heads=config.heads,
        dropout_rate_block=0.0,
        droppath_rate_block=0.0,
        head_dropout_rate=0.0,
        head_num_classes=config.num_classes,
        head_activation=None,
    )
