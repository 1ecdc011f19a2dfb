"""Checks of what a caller hands in, made before anything compiles.

Every message names the argument, what came, and what was expected.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "check",
    "check_count",
    "check_data",
    "check_dropout",
    "check_function",
    "check_key",
    "check_patience",
    "nearest",
]


def check(batch: Any, name: str = "data") -> int:
    """Refuse data that cannot train a model: empty, ragged, not numeric, or not finite.

    Args:
        batch: A tree of NumPy or JAX arrays with one leading axis of rows, such as ``{"x": [n, …], "y": [n]}``.
        name: What the caller calls the argument, for messages: ``validation`` gives ``validation["x"]``.

    Returns:
        The number of rows.

    Raises:
        TypeError: A leaf is no array, or holds objects, text or dates.
        ValueError: No arrays, no rows, different numbers of rows, or rows with NaN or inf, or with numbers beyond the
            dtype that JAX will cast them to (float32 where 64 bits are off).

    >>> check({"x": np.zeros((3, 2)), "y": np.zeros(2)})
    Traceback (most recent call last):
    ValueError: data["y"] has 2 rows, but data["x"] has 3: expected the same number of rows in every array
    """
    leaves = _leaves(batch, name)
    for path, leaf in leaves.items():
        _check_kind(path, leaf)
    rows = _check_rows(leaves)
    for path, leaf in leaves.items():
        _check_finite(path, leaf)
    return rows


def check_data(data: Any, name: str = "data") -> int:
    """Refuse what is not a dict of arrays that :func:`check` lets pass, with weights that may be used.

    Args:
        data: A dict such as ``{"x": [n, …], "y": [n], "weight": [n]}``.
        name: What the caller calls the argument.

    Returns:
        The number of rows.

    Raises:
        TypeError: It is no dict, or as in :func:`check`.
        ValueError: A ``weight`` is negative, or as in :func:`check`.
    """
    if not isinstance(data, Mapping):
        raise TypeError(f'{name}: expected a dict of arrays such as {{"x": …, "y": …}}, got {type(data).__name__}')
    rows = check(data, name)
    if any((weight < 0).any() for weight in jax.tree.leaves(data.get("weight", ()))):
        raise ValueError(f'{name}["weight"] is negative in places: expected weights of at least 0')
    return rows


def check_dropout(value: Any, name: str = "dropout") -> None:
    """Refuse a share of values to drop that is not in [0, 1).

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, 1 or more, or nan.
    """
    if isinstance(value, jax.core.Tracer):
        return  # as in a sweep; what it will be is known to nobody here
    if isinstance(value, bool) or not isinstance(value, int | float | np.number | jax.Array):
        raise TypeError(f"{name}: expected a number in [0, 1), got {_short(value)}")
    if not 0 <= value < 1:
        raise ValueError(f"{name}: expected a number in [0, 1), got {value}")


def check_key(key: Any, name: str = "key") -> None:
    """Refuse what is not one typed random key.

    Raises:
        TypeError: It is no array of typed keys; a number or an old ``PRNGKey`` is not.
        ValueError: It is an array of several keys.
    """
    if not isinstance(key, jax.Array) or not _is_key(key):
        raise TypeError(f"{name}: expected a typed key such as jax.random.key(0), got {_short(key)}")
    if key.shape:
        raise ValueError(f"{name}: expected one key, got an array of shape {key.shape}")


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Refuse what is not a whole number of at least ``least``.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is too small.
    """
    # A bool is an int to Python; as a count it is a slip of the pen.
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected a whole number, got {_short(value)}")
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")


def check_function(name: str, value: Any) -> None:
    """Refuse what cannot be called, such as a function's name.

    Raises:
        TypeError: It is no function.

    >>> check_function("activation", "relu")
    Traceback (most recent call last):
    TypeError: activation: expected a function such as jax.nn.relu, got str 'relu'
    """
    if not callable(value):
        raise TypeError(f"{name}: expected a function such as jax.nn.relu, got {_short(value)}")


def check_patience(patience: int | None, validation: Any, monitor: str = "validation/loss") -> None:
    """Refuse early stopping that has nothing to watch.

    Args:
        patience: Epochs without an improvement after which training stops; ``None`` for no such stop.
        validation: What is measured after every epoch, or ``None``.
        monitor: The measure to watch; one of the training itself, such as ``loss``, needs no validation.

    Raises:
        TypeError: ``patience`` is no whole number.
        ValueError: It is below 1, or there is no validation for a ``monitor`` that begins with ``validation/``.
    """
    if patience is None:
        return
    check_count("patience", patience)
    if validation is None and str(monitor).startswith("validation/"):
        raise ValueError(f"patience: {patience} epochs without improvement need validation data, got validation=None")


def nearest(name: str, known: Iterable[str]) -> str:
    """The tail of a message about an unknown name: what is known, and which of these was probably meant.

    >>> f"unknown data set {nearest('minst', ['digits', 'mnist'])}"
    "unknown data set 'minst': known are 'digits', 'mnist'; did you mean 'mnist'?"
    """
    names = list(known)
    message = f"{name!r}: known are {', '.join(map(repr, names)) or 'none'}"
    by_lower = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1)
    return f"{message}; did you mean {by_lower[close[0]]!r}?" if close else message


def _leaves(batch: Any, name: str) -> dict[str, Any]:
    """The leaves of a batch by their path, written as the caller would write it: ``data["x"]``."""
    # None is an empty tree to JAX: without this a forgotten array would vanish instead of being named.
    pairs, _ = jax.tree_util.tree_flatten_with_path(batch, is_leaf=lambda node: node is None)
    if not pairs or batch is None:
        raise ValueError(f"{name} holds no arrays: expected a dict of arrays such as {{'x': …, 'y': …}}, got {batch!r}")
    return {name + jax.tree_util.keystr(path).replace("'", '"'): leaf for path, leaf in pairs}


def _check_kind(path: str, leaf: Any) -> None:
    """Raise unless ``leaf`` is an array of numbers or keys with a leading axis."""
    if not isinstance(leaf, np.ndarray | jax.Array):
        kind = type(leaf).__name__
        raise TypeError(
            f"{path} is of type {kind}: expected a NumPy or JAX array (numpy.asarray makes one of lists and tables)"
        )
    if not _is_key(leaf) and not jnp.issubdtype(leaf.dtype, np.number) and leaf.dtype != np.bool_:
        raise TypeError(
            f"{path} has dtype {leaf.dtype}: expected numbers (text classes must become integer labels first)"
        )
    if leaf.ndim == 0:
        raise ValueError(f"{path} is a scalar: expected an array with a leading axis of rows")


def _check_rows(leaves: dict[str, Any]) -> int:
    """The number of rows, which must be the same for every leaf, and at least one."""
    (first, array), *others = leaves.items()
    rows = array.shape[0]
    for path, other in others:
        if other.shape[0] != rows:
            raise ValueError(
                f"{path} has {other.shape[0]} rows, but {first} has {rows}: "
                "expected the same number of rows in every array"
            )
    if rows == 0:
        raise ValueError(f"{first} is empty, with shape {array.shape}: expected at least one row")
    return rows


def _check_finite(path: str, leaf: Any) -> None:
    """Raise if a row of ``leaf`` holds NaN or inf, saying how many rows do and which is the first."""
    if _is_key(leaf) or not jnp.issubdtype(leaf.dtype, np.inexact):
        return
    given, dtype = leaf.dtype, jax.dtypes.canonicalize_dtype(leaf.dtype)
    # JAX's own cast would make inf of what is too large, and NumPy would warn.
    with np.errstate(all="ignore"):
        leaf = leaf if given == dtype else leaf.astype(dtype)
    if _all_finite(leaf):
        return
    # Stays on the device of a JAX array, which may be too large, or spread too wide, to be copied to the host.
    xp = jnp if isinstance(leaf, jax.Array) else np
    bad = np.asarray(~xp.isfinite(leaf).reshape(leaf.shape[0], -1).all(axis=1))
    cast = "" if given == dtype else f" ({given} is cast to {dtype})"
    raise ValueError(
        f"{path} holds NaN or inf in {bad.sum()} of {len(bad)} rows, the first of them row {bad.argmax()} "
        f"(counted from 0): expected finite numbers{cast}"
    )


def _all_finite(leaf: Any) -> bool:
    """Whether every value is finite."""
    # A finite sum proves it, in one pass without a temporary; only a sum that is not needs a look at each value.
    xp = jnp if isinstance(leaf, jax.Array) else np
    with np.errstate(all="ignore"):
        return bool(xp.isfinite(leaf.sum())) or bool(xp.isfinite(leaf).all())


def _is_key(leaf: Any) -> bool:
    """Whether ``leaf`` is an array of typed random keys, which has no values to look at."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _short(value: Any) -> str:
    """A value for a message: arrays by dtype and shape, anything else by its type and what it prints."""
    if isinstance(value, np.ndarray | jax.Array):
        return f"an array {value.dtype}{list(value.shape)}"
    return f"{type(value).__name__} {value!r}"
