"""What observations and actions may be: shapes, dtypes, bounds, and draws."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count, check_key
from stepax.typing import Array, Key

__all__ = ["Box", "Discrete", "Space"]

# A draw has so many bits: with more values than that, some would never come.
BITS = 24


@dataclasses.dataclass(frozen=True)
class Discrete:
    """The whole numbers from 0 to ``n - 1``: scalars, int32.

    Attributes:
        n: How many there are, at most 2²⁴.

    Raises:
        TypeError: ``n`` is no whole number.
        ValueError: It is below 1, or above 2²⁴.

    >>> Discrete(2).check(2)
    Traceback (most recent call last):
    ValueError: action: expected a whole number from 0 to 1, got 2
    """

    n: int
    shape: ClassVar[tuple[int, ...]] = ()
    dtype: ClassVar[Any] = np.dtype(np.int32)

    def __post_init__(self) -> None:
        check_count("n", self.n)
        if self.n > 2**BITS:
            raise ValueError(f"n: expected at most {2**BITS}, got {self.n}")

    def sample(self, key: Key) -> Array:
        """One of the numbers, all as likely up to a part in ``2²⁴ / n``."""
        check_key(key)
        # One draw without a remainder: less than half the work of jax.random.randint.
        bits = (jax.random.bits(key, (), jnp.uint32) >> (32 - BITS)).astype(jnp.float32)
        return (bits * np.float32(self.n / 2**BITS)).astype(jnp.int32)

    def contains(self, value: Any) -> Array:
        """Whether ``value`` is one of the numbers, a scalar of an integer dtype."""
        value = jnp.asarray(value)
        if not jnp.issubdtype(value.dtype, jnp.integer) or value.shape:
            return jnp.zeros((), bool)
        return (value >= 0) & (value < self.n)

    def check(self, value: Any, name: str = "action") -> None:
        """Refuse what is none of the numbers. In a compiled program the dtype and the shape are seen, not the value.

        Raises:
            TypeError: The dtype is none of integers.
            ValueError: It is no scalar, or out of range.
        """
        if not jnp.issubdtype(jnp.result_type(value), jnp.integer):
            raise TypeError(f"{name}: expected a whole number, of an integer dtype, got {_named(value)}")
        _check_shape(self.shape, value, name)
        if not isinstance(value, jax.core.Tracer) and not 0 <= int(value) < self.n:
            raise ValueError(f"{name}: expected a whole number from 0 to {self.n - 1}, got {int(value)}")


@dataclasses.dataclass(frozen=True, eq=False)
class Box:
    """Arrays of float32 between bounds, which may be infinite.

    Attributes:
        low: The least values, a number or an array; the two are broadcast against each other.
        high: The largest values. Either may hold traced numbers.

    Raises:
        ValueError: A bound is nan, ``low`` is above ``high``, or their shapes do not go together.

    >>> Box([-1, 0], np.inf).shape
    (2,)
    """

    low: Any
    high: Any
    dtype: ClassVar[Any] = np.dtype(np.float32)

    def __post_init__(self) -> None:
        low, high = _bound(self.low), _bound(self.high)
        try:
            shape = np.broadcast_shapes(low.shape, high.shape)
        except ValueError:
            raise ValueError(f"low: shape {low.shape} does not go with shape {high.shape} of high") from None
        # A frozen dataclass: what was given is replaced by what it means, once.
        for name, bound in {"low": low, "high": high}.items():
            xp = jnp if _traced(bound) else np
            object.__setattr__(self, name, xp.broadcast_to(bound, shape))
        if not _traced(low, high) and not (self.low <= self.high).all():
            raise ValueError(f"low: expected numbers of at most high, got {low.tolist()} and {high.tolist()}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a value."""
        return self.low.shape

    def sample(self, key: Key) -> Array:
        """Uniform between two bounds, exponential beyond a single one, normal where there is none."""
        check_key(key)
        if not _traced(self.low, self.high) and np.isfinite([self.low, self.high]).all():
            return self._between(key, self.low, self.high)
        keys = jax.random.split(key, 3)
        below, above = jnp.isfinite(self.low), jnp.isfinite(self.high)
        low, high = jnp.where(below, self.low, 0), jnp.where(above, self.high, 0)
        beyond = jax.random.exponential(keys[1], self.shape, jnp.float32)
        free = jax.random.normal(keys[2], self.shape, jnp.float32)
        single = jnp.where(below, low + beyond, jnp.where(above, high - beyond, free))
        return jnp.where(below & above, self._between(keys[0], low, high), single)

    def contains(self, value: Any) -> Array:
        """Whether ``value`` has the shape, a dtype of floats, and lies between the bounds."""
        value = jnp.asarray(value)
        if not jnp.issubdtype(value.dtype, jnp.floating) or value.shape != self.shape:
            return jnp.zeros((), bool)
        return jnp.all((value >= self.low) & (value <= self.high))

    def check(self, value: Any, name: str = "action") -> None:
        """Refuse what is not in the box. In a compiled program the dtype and the shape are seen, not the values.

        Raises:
            TypeError: The dtype is none of floats.
            ValueError: The shape is another, or a value is nan or out of bounds.
        """
        self.check_form(value, name)
        if not isinstance(value, jax.core.Tracer) and not _traced(self.low, self.high) and not self.contains(value):
            bounds = f"from {self.low.tolist()} to {self.high.tolist()}"
            raise ValueError(f"{name}: expected numbers {bounds}, got {np.asarray(value).tolist()}")

    def check_form(self, value: Any, name: str = "action") -> None:
        """Refuse another shape or dtype, and what is not finite: for who clips what is out of bounds.

        Raises:
            TypeError: The dtype is none of floats.
            ValueError: The shape is another, or a value is nan or infinite.
        """
        if not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            raise TypeError(f"{name}: expected numbers of a floating dtype, got {_named(value)}")
        _check_shape(self.shape, value, name)
        if not isinstance(value, jax.core.Tracer) and not np.isfinite(np.asarray(value, np.float64)).all():
            raise ValueError(f"{name}: expected finite numbers, got {np.asarray(value).tolist()}")

    def _between(self, key: Key, low: Any, high: Any) -> Array:
        # Not low + u (high - low): the difference of large bounds is infinite. Clipped, as rounding may pass them.
        u = jax.random.uniform(key, self.shape, jnp.float32)
        return jnp.clip(low * (1 - u) + high * u, low, high)


Space = Discrete | Box
"""What observations and actions may be."""


def _bound(value: Any) -> Any:
    """A bound as an array of float32, on the host unless it is traced."""
    if any(_traced(leaf) for leaf in jax.tree.leaves(value)):
        return jnp.asarray(value, jnp.float32)
    with np.errstate(over="ignore"):
        bound = np.asarray(value, np.float32)
    if np.isnan(bound).any():
        raise ValueError(f"low, high: expected numbers, got {bound.tolist()}")
    return bound


def _check_shape(shape: tuple[int, ...], value: Any, name: str) -> None:
    if np.shape(value) != shape:
        hint = "; for many at once use jax.vmap" if np.shape(value)[1:] == shape else ""
        raise ValueError(f"{name}: expected shape {shape}, got shape {np.shape(value)}{hint}")


def _traced(*values: Any) -> bool:
    return any(isinstance(value, jax.core.Tracer) for value in values)


def _named(value: Any) -> str:
    if isinstance(value, np.ndarray | jax.Array):
        return f"an array {value.dtype}{list(value.shape)}"
    return f"{type(value).__name__} {value!r}"
