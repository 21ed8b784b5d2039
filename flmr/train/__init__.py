"""Training: a recipe in, a checkpoint in the published layout out.

Knows every layer below it.  The front doors are `train` and `load_training_recipe`.
"""

from flmr.train.loop import TrainResult, train
from flmr.train.ranks import reports
from flmr.train.recipe import TrainingRecipe, load_training_recipe

__all__ = ["TrainResult", "TrainingRecipe", "load_training_recipe", "reports", "train"]
