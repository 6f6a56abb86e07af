"""Training: recipes, the loop, and checkpoints that survive (Chapter 8)."""

from mvit_edu.training.config import TrainConfig
from mvit_edu.training.loop import FitResult, NonFiniteLoss, TrainingStopped, fit, train_step
from mvit_edu.training.objective import Objective
from mvit_edu.training.recipe import Recipe, learning_rate, make_optimizer, parameter_groups
from mvit_edu.training.recipes import RECIPES, get_recipe
from mvit_edu.training.sampler import TrainSampler
from mvit_edu.training.state import Checkpoints, read_state

__all__ = [
    "RECIPES",
    "Checkpoints",
    "FitResult",
    "NonFiniteLoss",
    "Objective",
    "Recipe",
    "TrainConfig",
    "TrainSampler",
    "TrainingStopped",
    "fit",
    "get_recipe",
    "learning_rate",
    "make_optimizer",
    "parameter_groups",
    "read_state",
    "train_step",
]
