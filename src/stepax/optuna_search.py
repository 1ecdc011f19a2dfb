"""Search for hyper-parameters through Optuna: one training after the other, each proposed by those before it."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from stepax.checks import check_count, check_key
from stepax.learner import Learner
from stepax.reports import closing, training
from stepax.searching import Search, Trial, check_search, sorted_trials
from stepax.typing import Key

__all__ = ["search_optuna"]


def search_optuna(
    make: Callable[..., Learner],
    suggest: Callable[[Any], dict[str, Any]],
    data: Any,
    *,
    validation: Any,
    key: Key,
    epochs: int,
    batch_size: int | None,
    trials: int,
    monitor: str = "validation/loss",
    better: Callable[[float, float], bool] | None = None,
    study: Any = None,
) -> Search:
    """Trains as Optuna proposes, and gives up between two epochs what its pruner has no hope for.

    Every training has the same key, so that settings differ by their values alone.

    Args:
        make: ``(name=value, …) -> Learner``.
        suggest: From an Optuna trial to the values of one setting:
            ``lambda trial: {"rate": trial.suggest_float("rate", 1e-5, 1e-1, log=True)}``.
        data: Training data, as in ``fit``.
        validation: What decides: data that are measured after every epoch and never learnt from.
        key: The root of all randomness, of Optuna's sampler too where it makes the study.
        epochs: How often each setting goes through the data, unless it is given up.
        batch_size: Examples a step.
        trials: How many settings are tried.
        monitor: The measure that decides, as the history names it.
        better: ``(new, best) -> bool``, as in ``fit``.
        study: Where Optuna keeps what it knows, with a sampler, a pruner and a storage of one's own, as from
            ``optuna.create_study``; ``None`` makes one in memory, with Optuna's usual sampler and its median pruner.
            Trials that a study has already guide the search and are not in the result.

    Returns:
        The trials, the best first; those that were given up come last. ``best`` is an error where no trial has a finite
        measure.

    Raises:
        ModuleNotFoundError: Optuna is not installed.
        TypeError: ``make`` or ``suggest`` is no function, or ``suggest`` gives no dict; as in ``fit``.
        ValueError: The study looks for the other direction than ``better``; as in :func:`stepax.search`.
    """
    optuna = _optuna()
    check_key(key)
    check_count("trials", trials)
    check_count("epochs", epochs)
    if not callable(suggest):
        raise TypeError(f"suggest: expected a function from an Optuna trial to values, got {type(suggest).__name__}")
    study_key, fit_key = jax.random.split(key)
    order = better or operator.lt
    own = _study(optuna, study, study_key, "minimize" if order(0, 1) else "maximize")
    done: list[Trial] = []

    def tried(trial: Any) -> float:
        values = suggest(trial)
        if not isinstance(values, dict):
            raise TypeError(f"suggest: expected a dict of values by name, got {values!r}")
        if not done:
            check_search(make, values, data, validation, monitor, better)
        settings = {"key": fit_key, "epochs": epochs, "batch_size": batch_size, "validation": validation}
        row: dict[str, Any] = {}
        rows: Sequence[dict[str, Any]] = ()
        pruned = None
        with closing(training(make(**values), data, **settings)) as reports:
            for report in reports:
                if report.row is None:
                    continue
                row, rows = report.row, report.rows
                trial.report(row[monitor], row["epoch"])
                if row["epoch"] < epochs and (trial.should_prune() or not np.isfinite(row[monitor])):
                    pruned = row["epoch"]
                    break
        score = float(row[monitor])
        history = {name: [past[name] for past in rows] for name in row}
        done.append(Trial(values, [score], score, 0.0, history, pruned))
        if pruned is not None or not np.isfinite(score):
            raise optuna.TrialPruned
        return score

    own.optimize(tried, n_trials=trials)
    ordered = sorted_trials(done, order)
    return Search(ordered, monitor, ordered[0].values)


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "search_optuna needs Optuna, which the extra `search` brings: pip install 'stepax[search]'", name="optuna"
        ) from error
    return optuna


def _study(optuna: Any, study: Any, key: Key, direction: str) -> Any:
    """The given study if it looks in that direction, or a new one."""
    if study is None:
        seed = int(np.asarray(jax.random.key_data(key))[-1])
        return optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=seed))
    if study.direction.name.lower() != direction:
        found = study.direction.name.lower()
        raise ValueError(f"study: expected direction={direction!r}, as `better` has it, got {found!r}")
    return study
