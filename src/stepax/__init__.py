"""stepax: a deep-learning toolkit for JAX, in which everything that can be trained is one pure pair, ``(init, step)``.

>>> import stepax as sx
>>> learner = sx.supervised(model, sx.losses.cross_entropy, optimizer)  # doctest: +SKIP
>>> run = sx.fit(learner, train, key=key, epochs=10, batch_size=128)  # doctest: +SKIP
"""

import importlib
from typing import Any

from stepax import losses, metrics, nn, ops
from stepax.ensemble import Ensemble, ensemble
from stepax.evaluation import Evaluation, evaluate, predict
from stepax.fit import Run, collected, fit
from stepax.folds import Folds, folds, side_by_side
from stepax.gradient import gradient, reduce, update, weighted_mean
from stepax.learner import Learner, State, new_state, step_key, supervised
from stepax.loop import epochs
from stepax.model import Model, as_model, from_linen, from_nnx, scaled
from stepax.reports import Report, training
from stepax.saving import Checkpoints, Interrupted
from stepax.source import Source, class_weights, generated, in_order, shuffled
from stepax.transfer import transfer, unfrozen
from stepax.transforms import (
    NotFinite,
    accumulate,
    average,
    averaged,
    check_guard,
    full_precision,
    grid,
    guard,
    lane,
    population,
    precise,
    sweep,
    watch,
)

__version__ = "0.1.0"

# Loaded when first used: files, figures and the command line cost more to import than all the rest.
LAZY = (
    "checkpoint",
    "cli",
    "compile",
    "data",
    "deployment",
    "logs",
    "plot",
    "progress",
    "record",
    "typing",
    "weights",
)

__all__ = [
    "Checkpoints",
    "Ensemble",
    "Evaluation",
    "Folds",
    "Interrupted",
    "Learner",
    "Model",
    "NotFinite",
    "Report",
    "Run",
    "Source",
    "State",
    "accumulate",
    "as_model",
    "average",
    "averaged",
    "check_guard",
    "class_weights",
    "collected",
    "ensemble",
    "epochs",
    "evaluate",
    "fit",
    "folds",
    "from_linen",
    "from_nnx",
    "full_precision",
    "generated",
    "gradient",
    "grid",
    "guard",
    "in_order",
    "lane",
    "losses",
    "metrics",
    "new_state",
    "nn",
    "ops",
    "population",
    "precise",
    "predict",
    "reduce",
    "scaled",
    "shuffled",
    "side_by_side",
    "step_key",
    "supervised",
    "sweep",
    "training",
    "transfer",
    "unfrozen",
    "update",
    "watch",
    "weighted_mean",
    *LAZY,
]


def __getattr__(name: str) -> Any:
    if name in LAZY:
        return importlib.import_module(f"stepax.{name}")
    raise AttributeError(f"module 'stepax' has no attribute {name!r}")
