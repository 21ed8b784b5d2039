"""Training: a recipe in, a checkpoint in the published layout out.

Knows every layer below it.  The front doors are `train` and `load_training_recipe`, and for loops of one's own
`RetrieverHooks`.
"""

from flmr.train.hooks import RetrieverHooks, read_static_results
from flmr.train.loop import TrainResult, train
from flmr.train.ranks import reports
from flmr.train.recipe import TrainingRecipe, load_training_recipe

__all__ = [
    "RetrieverHooks",
    "TrainResult",
    "TrainingRecipe",
    "load_training_recipe",
    "read_static_results",
    "reports",
    "train",
]
