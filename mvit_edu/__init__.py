"""mvit_edu: Multiscale Vision Transformers, built up chapter by chapter."""

from mvit_edu.model.checkpoints import LoadReport, load_weights
from mvit_edu.model.config import BlockSpec, MViTConfig
from mvit_edu.model.dialects import CheckpointError, from_native, to_native
from mvit_edu.model.mvit import MViT, create_model
from mvit_edu.model.presets import get_config, list_models
from mvit_edu.model.stages import StageTable, stage_table

__version__ = "0.1.0"

__all__ = [
    "BlockSpec",
    "CheckpointError",
    "LoadReport",
    "MViT",
    "MViTConfig",
    "StageTable",
    "create_model",
    "from_native",
    "get_config",
    "list_models",
    "load_weights",
    "stage_table",
    "to_native",
]
