"""stepax: a deep-learning toolkit for JAX, in which everything that can be trained is one pure pair, ``(init, step)``.

>>> import stepax as sx
>>> learner = sx.supervised(model, sx.losses.cross_entropy, optimizer)  # doctest: +SKIP
>>> run = sx.fit(learner, train, key=key, epochs=10, batch_size=128)  # doctest: +SKIP
"""

import importlib
from typing import Any

from stepax import losses, metrics, nn, ops
from stepax.bucketing import bucketed
from stepax.description import Description, describe
from stepax.ensemble import Ensemble, ensemble
from stepax.estimation import Estimate, estimate
from stepax.evaluation import Evaluation, evaluate, predict
from stepax.fit import Run, collected, fit
from stepax.folds import Folds, folds, side_by_side
from stepax.gradient import gradient, reduce, update, weighted_mean
from stepax.learner import Learner, State, new_state, step_key, supervised
from stepax.learning_rate import RateRange, rate_range
from stepax.loop import epochs
from stepax.model import Model, as_model, from_linen, from_nnx, scaled
from stepax.optuna_search import search_optuna
from stepax.placement import share, spread
from stepax.profiling import Profile, profile
from stepax.reports import Report, training
from stepax.saving import Checkpoints, Interrupted
from stepax.searching import Search, Trial, choice, log_uniform, search, uniform
from stepax.source import Source, Stream, class_weights, generated, in_order, shuffled
from stepax.transfer import transfer, unfrozen
from stepax.transforms import (
    NotFinite,
    accumulate,
    average,
    averaged,
    by_path,
    check_guard,
    full_precision,
    fully_sharded,
    grid,
    guard,
    lane,
    mesh,
    population,
    precise,
    replay,
    replicated,
    shard,
    shardings,
    sweep,
    trim,
    watch,
)

__version__ = "0.1.0"

# Loaded when first used: files, figures and the command line cost more to import than all the rest.
LAZY = (
    "augment",
    "checkpoint",
    "cli",
    "compile",
    "data",
    "deployment",
    "logs",
    "plot",
    "processes",
    "progress",
    "record",
    "rl",
    "text",
    "typing",
    "weights",
)

__all__ = [
    "Checkpoints",
    "Description",
    "Ensemble",
    "Estimate",
    "Evaluation",
    "Folds",
    "Interrupted",
    "Learner",
    "Model",
    "NotFinite",
    "Profile",
    "RateRange",
    "Report",
    "Run",
    "Search",
    "Source",
    "State",
    "Stream",
    "Trial",
    "accumulate",
    "as_model",
    "average",
    "averaged",
    "bucketed",
    "by_path",
    "check_guard",
    "choice",
    "class_weights",
    "collected",
    "describe",
    "ensemble",
    "epochs",
    "estimate",
    "evaluate",
    "fit",
    "folds",
    "from_linen",
    "from_nnx",
    "full_precision",
    "fully_sharded",
    "generated",
    "gradient",
    "grid",
    "guard",
    "in_order",
    "lane",
    "log_uniform",
    "losses",
    "mesh",
    "metrics",
    "new_state",
    "nn",
    "ops",
    "population",
    "precise",
    "predict",
    "profile",
    "rate_range",
    "reduce",
    "replay",
    "replicated",
    "scaled",
    "search",
    "search_optuna",
    "shard",
    "shardings",
    "share",
    "shuffled",
    "side_by_side",
    "spread",
    "step_key",
    "supervised",
    "sweep",
    "training",
    "transfer",
    "trim",
    "unfrozen",
    "uniform",
    "update",
    "watch",
    "weighted_mean",
    *LAZY,
]


def __getattr__(name: str) -> Any:
    if name in LAZY:
        return importlib.import_module(f"stepax.{name}")
    raise AttributeError(f"module 'stepax' has no attribute {name!r}")
