"""Search for hyper-parameters: many settings side by side in one program, or one after the other."""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from stepax.aligned import aligned
from stepax.checks import check_count, check_key, nearest
from stepax.evaluation import rehearse
from stepax.fit import fit
from stepax.learner import Learner, check_learner
from stepax.source import Source, Stream, example
from stepax.transforms.population import population
from stepax.transforms.sweep import sweep
from stepax.typing import Key

__all__ = ["Draw", "Search", "Trial", "check_search", "choice", "log_uniform", "search", "sorted_trials", "uniform"]

PREFIX = "validation/"


class Draw(NamedTuple):
    """Where the values of a hyper-parameter come from.

    Attributes:
        value: From a number in [0, 1) to a value; numbers that are spread evenly make values that are.
    """

    value: Callable[[float], Any]


def uniform(low: float, high: float) -> Draw:
    """Numbers of which any between two is as likely as any other.

    Raises:
        ValueError: Not ``low < high``, or one is not finite.
    """
    if not (np.isfinite([low, high]).all() and low < high):
        raise ValueError(f"low: expected two finite numbers with low < high, got low={low} and high={high}")
    return Draw(lambda share: low + (high - low) * share)


def log_uniform(low: float, high: float) -> Draw:
    """Numbers of which any power of ten is as likely as any other: for rates and decays.

    Raises:
        ValueError: Not ``0 < low < high``.
    """
    if not 0 < low < high < np.inf:
        raise ValueError(f"low: expected 0 < low < high, got low={low} and high={high}")
    return Draw(lambda share: float(low * (high / low) ** share))


def choice(*values: Any) -> Draw:
    """One of several values of any kind, each as likely.

    Raises:
        ValueError: There are none.
    """
    if not values:
        raise ValueError("values: expected at least one, got none")
    return Draw(lambda share: values[int(share * len(values))])


class Trial(NamedTuple):
    """One setting that was tried.

    Attributes:
        values: The hyper-parameters by name.
        scores: The measure after the last epoch, a number for each seed.
        mean: Their mean.
        deviation: Their standard deviation, 0 for one seed.
        history: The history of its training as ``fit`` has it, and of several seeds with a list of one number per seed
            for each entry of a measure.
        pruned: After which epoch it was given up, or ``None``.
    """

    values: dict[str, Any]
    scores: list[float]
    mean: float
    deviation: float
    history: dict[str, list[Any]]
    pruned: int | None = None


class _Found(NamedTuple):
    trials: tuple[Trial, ...]
    monitor: str
    best: dict[str, Any]


class Search(_Found):
    """What a search finds; ``str()`` of it is a table.

    Attributes:
        trials: All that was tried, the best first; what was given up, and what has no finite measure, comes last.
        monitor: The measure that decides.
        best: The values of the first. A ``ValueError`` where no trial has a finite measure: then nothing is the best.
    """

    __slots__ = ()

    @property
    def best(self) -> dict[str, Any]:
        """The values of the first trial.

        Raises:
            ValueError: No trial has a finite measure.
        """
        if not any(np.isfinite(trial.mean) for trial in self.trials):
            raise ValueError(
                f"best: expected a trial with a finite {self.monitor}, got none in {len(self.trials)}; lower learning "
                "rates may help, and trials[0].history tells when it went wrong"
            )
        return self[2]

    def __str__(self) -> str:
        return _table(self)


def search(
    make: Callable[..., Learner],
    space: Mapping[str, Draw | Sequence[Any]],
    data: Any,
    *,
    validation: Any,
    key: Key,
    epochs: int,
    batch_size: int | None,
    points: int = 16,
    seeds: int = 1,
    lanes: int | None = None,
    monitor: str = "validation/loss",
    better: Callable[[float, float], bool] | None = None,
) -> Search:
    """Trains with many values of hyper-parameters and compares them on validation data.

    What can be traced as a number and leaves shapes alone (a rate, a decay, dropout) varies within one program, all
    settings at once, as in :func:`stepax.sweep`. Of the rest (widths, an activation) every combination that occurs gets
    a program of its own, one after the other. Which is which is found out without computing anything.

    A setting is judged by its last epoch: the best epoch of many would be chosen by luck. Test data have no place here;
    measure the best setting on them once, at the very end.

    Args:
        make: ``(name=value, …) -> Learner``; pure, as in ``sweep``.
        space: By name where values come from: :func:`uniform`, :func:`log_uniform` or :func:`choice` for random points;
            or lists of equal length, such as ``stepax.grid`` makes, for those that are given.
        data: Training data, as in ``fit``.
        validation: What decides: data that are measured after every epoch and never learnt from.
        key: The root of all randomness, of the points too.
        epochs: How often each setting goes through the data.
        batch_size: Examples a step.
        points: How many random points there are; each axis is covered evenly (a Latin hypercube). Of no effect on
            points that are given.
        seeds: How often each setting is trained, from different keys.
        lanes: How many trainings share a program at most; ``None``: all that can.
        monitor: The measure that decides, as the history names it.
        better: ``(new, best) -> bool``, as in ``fit``.

    Returns:
        Trials, the best first. ``make(**found.best)`` is the learner to train on; ``best`` is an error where no trial
        has a finite measure.

    Raises:
        TypeError: Before anything is compiled: ``make`` is no function, or makes no learner; data of the wrong kind.
        ValueError: Likewise: ``space`` is empty, mixes draws and lists, or has lists of several lengths; the monitor is
            no measure of the validation data, or nothing says what is better; data that cannot be learnt from.

    Reference:
        Bergstra and Bengio, Random search for hyper-parameter optimization, 2012; McKay, Beckman and Conover, A
        comparison of three methods for selecting values of input variables, 1979.
    """
    check_key(key)
    for name, count in {
        "points": points,
        "seeds": seeds,
        "epochs": epochs,
        "lanes": 1 if lanes is None else lanes,
    }.items():
        check_count(name, count)
    points_key, data_key = jax.random.split(key)
    settings = _settings(space, points, points_key)
    better = check_search(make, settings[0], data, validation, monitor, better)
    free = _traceable(make, settings, data)
    trials: dict[int, Trial] = {}
    for number, group in enumerate(_groups(settings, free, lanes)):
        learner = _side_by_side(make, [settings[i] for i in group], free, seeds)
        run = fit(
            learner,
            data,
            key=jax.random.fold_in(data_key, number),
            epochs=epochs,
            batch_size=batch_size,
            validation=validation,
            progress=False,
        )
        for place, i in enumerate(group):
            trials[i] = _trial(settings[i], run.history, range(place * seeds, (place + 1) * seeds), monitor)
    ordered = sorted_trials([trials[i] for i in sorted(trials)], better)
    return Search(ordered, monitor, ordered[0].values)


def sorted_trials(trials: Sequence[Trial], better: Callable[[float, float], bool]) -> tuple[Trial, ...]:
    """The best first, then those given up, then those without a finite mean; equal ones stay in their order."""
    sign = 1 if better(0, 1) else -1

    def place(trial: Trial) -> tuple[int, float]:
        worth = 2 if not np.isfinite(trial.mean) else 1 if trial.pruned is not None else 0
        return worth, sign * trial.mean if worth < 2 else 0

    return tuple(sorted(trials, key=place))


def _settings(space: Mapping[str, Draw | Sequence[Any]], points: int, key: Key) -> list[dict[str, Any]]:
    if not space:
        raise ValueError(f"space: expected values by name, such as rate=stepax.log_uniform(1e-4, 1e-1), got {space!r}")
    draws = {name: draw for name, draw in space.items() if isinstance(draw, Draw)}
    if not draws:
        return _given({name: axis for name, axis in space.items() if not isinstance(axis, Draw)})
    if other := sorted(set(space) - set(draws)):
        raise ValueError(
            f"space: {', '.join(map(repr, sorted(draws)))} are drawn and {', '.join(map(repr, other))} given; "
            "stepax.choice draws from a list"
        )
    random = np.random.Generator(np.random.PCG64(np.asarray(jax.random.key_data(key)).tolist()))
    shares = {name: (random.permutation(points) + random.random(points)) / points for name in draws}
    return [{name: draw.value(float(shares[name][i])) for name, draw in draws.items()} for i in range(points)]


def _given(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    for name, axis in space.items():
        if isinstance(axis, str) or not isinstance(axis, Sequence | np.ndarray) or not len(axis):
            raise ValueError(f"space: expected a list of values for {name!r}, or a draw, got {axis!r}")
    lengths = {name: len(axis) for name, axis in space.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"space: expected lists of one length, got {lengths}; stepax.grid makes all combinations")
    rows = zip(*space.values(), strict=True)
    return [{name: getattr(v, "item", lambda v=v: v)() for name, v in zip(space, row, strict=True)} for row in rows]


def check_search(
    make: Any, first: dict[str, Any], data: Any, validation: Any, monitor: str, better: Any
) -> Callable[[float, float], bool]:
    """Refuses what cannot be compared, before anything is compiled.

    Args:
        make: As in :func:`search`.
        first: The values of one setting.
        data: As in ``search``.
        validation: As in ``search``.
        monitor: As in ``search``.
        better: As in ``search``.

    Returns:
        The order of the measure.

    Raises:
        TypeError: As in ``search``.
        ValueError: As in ``search``.
    """
    if not callable(make):
        raise TypeError(f"make: expected a function that makes a learner, got {type(make).__name__}")
    learner = make(**first)
    check_learner(learner)
    if validation is None:
        raise ValueError("validation: expected data to compare the settings on, got None")
    like = jax.eval_shape(learner.init, jax.random.key(0), _example(data))
    measured = rehearse(learner, like, validation, "validation")
    if not measured:
        measured = jax.eval_shape(learner.evaluate, like, _example(validation), like.key)
    known = [PREFIX + name for name in measured if name != "weight"]
    if monitor not in known:
        raise ValueError(f"monitor: unknown measure of the validation data {nearest(monitor, known)}")
    if better is None and not monitor.endswith("loss"):
        raise ValueError(f"better: nothing says whether more or less of {monitor!r} is better; pass operator.gt or lt")
    return better or operator.lt


def _example(data: Any) -> Any:
    """What shows the shapes of a batch."""
    return example(data) if isinstance(data, Source | Stream) else data


def _traceable(make: Callable[..., Learner], settings: list[dict[str, Any]], data: Any) -> list[str]:
    """The names whose values may vary within one program."""
    batch, free = _example(data), []
    for name in settings[0]:

        def alone(name: str = name, **own: Any) -> Learner:
            return make(**{**settings[0], **own})

        try:
            learner = sweep(alone, **{name: [setting[name] for setting in settings]})
            jax.eval_shape(learner.init, jax.random.key(0), batch)
        except (TypeError, ValueError):
            continue
        free.append(name)
    return free


def _groups(settings: list[dict[str, Any]], free: list[str], lanes: int | None) -> Iterator[list[int]]:
    """The numbers of the settings that share a program: equal in all that is not free."""
    found: dict[str, list[int]] = {}
    for i, setting in enumerate(settings):
        fixed = {name: value for name, value in setting.items() if name not in free}
        found.setdefault(repr(fixed), []).append(i)
    for group in found.values():
        size = (lanes or len(group)) if free else 1
        yield from (group[start : start + size] for start in range(0, len(group), size))


def _side_by_side(make: Callable[..., Learner], settings: list[dict[str, Any]], free: list[str], seeds: int) -> Learner:
    """One learner for several settings, each ``seeds`` times."""
    if not free:
        return population(make(**settings[0]), seeds)
    fixed = {name: value for name, value in settings[0].items() if name not in free}
    axes = {name: [setting[name] for setting in settings for _ in range(seeds)] for name in free}
    return sweep(lambda **own: make(**fixed, **own), **axes)


def _trial(values: dict[str, Any], history: dict[str, list[Any]], lanes: range, monitor: str) -> Trial:
    """The part of a history that is one setting's."""
    own: dict[str, list[Any]] = {}
    for name, rows in history.items():
        parts = [[row[lane] for lane in lanes] if isinstance(row, list) else row for row in rows]
        own[name] = [part[0] if isinstance(part, list) and len(lanes) == 1 else part for part in parts]
    scores = [float(history[monitor][-1][lane]) for lane in lanes]
    with np.errstate(invalid="ignore"):  # of infinite ones
        return Trial(values, scores, float(np.mean(scores)), float(np.std(scores)), own)


def _table(found: Search) -> str:
    names, several = list(found.trials[0].values), any(len(trial.scores) > 1 for trial in found.trials)
    rows = [["place", *names, found.monitor, *["± sd"] * several, ""]]
    for place, trial in enumerate(found.trials, 1):
        note = "" if trial.pruned is None else f"given up after epoch {trial.pruned}"
        deviation = [f"± {trial.deviation:.3g}"] * several
        rows.append([f"{place}", *(_text(trial.values[name]) for name in names), f"{trial.mean:.4g}", *deviation, note])
    return "\n".join(aligned(rows, left=[""]))


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(getattr(value, "__name__", value))
