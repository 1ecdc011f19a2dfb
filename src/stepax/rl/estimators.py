"""What a trajectory says of values and advantages: returns, and estimates between them and one-step predictions.

Time is the leading axis, whatever axes follow: ``[time]``, or ``[time, lanes]``. The value of what follows a
``terminated`` step is 0. Sums end at a ``truncated`` one, and at the last step of all, and go on there with
``next_values``: the values of where each step itself led to, which after the end of an episode is no observation of the
next one. Gradients are for the caller to stop.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from stepax.checks import check_count
from stepax.ops.primitive import varying_like
from stepax.typing import Array

__all__ = ["VTrace", "check_number", "gae", "lambda_returns", "n_step_returns", "returns", "vtrace"]


class VTrace(NamedTuple):
    """What :func:`vtrace` gives.

    Attributes:
        values: Targets for the values, ``[time, …]``.
        advantages: What the gradient of the policy is weighted by, ``[time, …]``.
    """

    values: Array
    advantages: Array


def returns(rewards: Any, next_values: Any, terminated: Any, truncated: Any, *, discount: Any) -> Array:
    r"""Sums of all rewards to come in an episode: :math:`G_t = r_t + \gamma G_{t+1}`.

    Args:
        rewards: ``[time, …]``.
        next_values: ``[time, …]``: values of where the steps led to, of which those of truncated steps and of the last
            one count; zeros where nothing beyond them is to count.
        terminated: ``[time, …]`` bool.
        truncated: ``[time, …]`` bool.
        discount: γ, from 0 to 1.

    Returns:
        ``[time, …]``, float32 at least, in the unit of the rewards.

    Raises:
        TypeError: An array does not hold numbers, ``terminated`` or ``truncated`` no booleans, or ``discount`` is no
            number.
        ValueError: Shapes differ, there are no steps, or ``discount`` is not in [0, 1].

    >>> never = jnp.zeros(3, bool)
    >>> returns(jnp.ones(3), jnp.full(3, 8.0), never, never, discount=0.5).tolist()
    [2.75, 3.5, 5.0]
    """
    return lambda_returns(rewards, next_values, terminated, truncated, discount=discount, trace=1.0)


def n_step_returns(
    rewards: Any, next_values: Any, terminated: Any, truncated: Any, *, steps: int, discount: Any
) -> Array:
    r"""Sums of the next ``n`` rewards and the value after them.

    .. math:: G_t = r_t + \gamma r_{t+1} + \dots + \gamma^{n-1} r_{t+n-1} + \gamma^n v(s_{t+n})

    Args:
        rewards: As in :func:`returns`.
        next_values: As in ``returns``, and here all of them count.
        terminated: As in ``returns``.
        truncated: As in ``returns``.
        steps: n; fewer where an episode or the trajectory ends before.
        discount: As in ``returns``.

    Returns:
        ``[time, …]``, as in ``returns``.

    Raises:
        TypeError: As in ``returns``, or ``steps`` is no whole number.
        ValueError: As in ``returns``, or ``steps`` is below 1.

    Reference:
        Sutton and Barto, Reinforcement learning: an introduction, 2018, section 7.1.
    """
    check_count("steps", steps)
    check_number("discount", discount, most=1)
    (rewards, next_values), terminated, cut = _trajectory(
        terminated, truncated, rewards=rewards, next_values=next_values
    )
    discount = jnp.asarray(discount, rewards.dtype)
    beyond = jnp.where(terminated, 0, next_values)

    def longer(_: Any, sums: Array) -> Array:
        return rewards + discount * jnp.where(cut, beyond, jnp.roll(sums, -1, axis=0))

    return lax.fori_loop(0, min(steps, len(rewards)) - 1, longer, rewards + discount * beyond)


def lambda_returns(
    rewards: Any, next_values: Any, terminated: Any, truncated: Any, *, discount: Any, trace: Any
) -> Array:
    r"""Means of n-step returns of every length, weighted by :math:`(1-\lambda) \lambda^{n-1}`.

    .. math:: G_t = r_t + \gamma ((1-\lambda) v(s_{t+1}) + \lambda G_{t+1})

    Args:
        rewards: As in :func:`returns`.
        next_values: As in ``returns``, and here all of them count.
        terminated: As in ``returns``.
        truncated: As in ``returns``.
        discount: As in ``returns``.
        trace: λ, from 0 (one step) to 1 (all of them).

    Returns:
        ``[time, …]``, as in ``returns``.

    Raises:
        TypeError: As in ``returns``; ``trace`` is no number.
        ValueError: As in ``returns``; ``trace`` is not in [0, 1].

    Reference:
        Sutton and Barto, Reinforcement learning: an introduction, 2018, section 12.1.
    """
    _check_rates(discount, trace)
    (rewards, next_values), terminated, cut = _trajectory(
        terminated, truncated, rewards=rewards, next_values=next_values
    )
    discount, trace = (jnp.asarray(rate, rewards.dtype) for rate in (discount, trace))
    beyond = jnp.where(terminated, 0, next_values)
    return _backwards(rewards + discount * jnp.where(cut, beyond, (1 - trace) * beyond), discount * trace, cut)


def gae(
    rewards: Any, values: Any, next_values: Any, terminated: Any, truncated: Any, *, discount: Any, trace: Any
) -> Array:
    r"""Generalized advantage estimation: discounted sums of the errors of one-step predictions.

    .. math:: A_t = \delta_t + \gamma \lambda A_{t+1}, \quad \delta_t = r_t + \gamma v(s_{t+1}) - v(s_t)

    Args:
        rewards: As in :func:`returns`.
        values: ``[time, …]``: values of where the steps began.
        next_values: ``[time, …]``: values of where they led to. Within an episode those of the steps that follow.
        terminated: As in ``returns``.
        truncated: As in ``returns``.
        discount: As in ``returns``.
        trace: λ, from 0 to 1.

    Returns:
        Advantages ``[time, …]``, as in ``returns``. Together with ``values`` they are the :func:`lambda_returns`.

    Raises:
        TypeError: As in ``lambda_returns``.
        ValueError: As in ``lambda_returns``.

    Reference:
        Schulman et al., High-dimensional continuous control using generalized advantage estimation, 2016,
        arXiv:1506.02438.
    """
    _check_rates(discount, trace)
    (rewards, values, next_values), terminated, cut = _trajectory(
        terminated, truncated, rewards=rewards, values=values, next_values=next_values
    )
    discount, trace = (jnp.asarray(rate, rewards.dtype) for rate in (discount, trace))
    errors = rewards + discount * jnp.where(terminated, 0, next_values) - values
    return _backwards(errors, discount * trace, cut)


def vtrace(
    rewards: Any,
    values: Any,
    next_values: Any,
    terminated: Any,
    truncated: Any,
    ratios: Any,
    *,
    discount: Any,
    trace: Any = 1.0,
    rho_clip: Any = 1.0,
    c_clip: Any = 1.0,
) -> VTrace:
    r"""V-trace: values and advantages of a policy π from steps that another policy μ has made.

    .. math:: v_t = V(s_t) + \rho_t (r_t + \gamma V(s_{t+1}) - V(s_t)) + \gamma c_t (v_{t+1} - V(s_{t+1}))

    .. math:: A_t = \rho_t (r_t + \gamma v_{t+1} - V(s_t)), \quad \rho_t = \min(\bar\rho, \pi_t / \mu_t), \quad
        c_t = \lambda \min(\bar c, \pi_t / \mu_t)

    Args:
        rewards: As in :func:`returns`.
        values: ``V``, ``[time, …]``: values of where the steps began.
        next_values: As in :func:`gae`.
        terminated: As in ``returns``.
        truncated: As in ``returns``.
        ratios: ``π(a|s) / μ(a|s)`` of the actions taken, ``[time, …]``.
        discount: As in ``returns``.
        trace: λ, from 0 to 1.
        rho_clip: ρ̄, at least 0, the bound that decides which policy's values are found: ``inf`` those of π.
        c_clip: c̄, at least 0, the bound that decides how far a step's error reaches back.

    Returns:
        Values and advantages.

    Raises:
        TypeError: As in ``lambda_returns``; a bound is no number.
        ValueError: As in ``lambda_returns``; a bound is negative.

    Reference:
        Espeholt et al., IMPALA: scalable distributed deep-RL with importance weighted actor-learner architectures,
        2018, arXiv:1802.01561.
    """
    _check_rates(discount, trace)
    check_number("rho_clip", rho_clip)
    check_number("c_clip", c_clip)
    (rewards, values, next_values, ratios), terminated, cut = _trajectory(
        terminated, truncated, rewards=rewards, values=values, next_values=next_values, ratios=ratios
    )
    discount, trace = (jnp.asarray(rate, rewards.dtype) for rate in (discount, trace))
    rho, c = (jnp.minimum(ratios, jnp.asarray(clip, ratios.dtype)) for clip in (rho_clip, c_clip))
    beyond = jnp.where(terminated, 0, next_values)
    targets = values + _backwards(rho * (rewards + discount * beyond - values), discount * trace * c, cut)
    following = jnp.where(cut, beyond, jnp.roll(targets, -1, axis=0))
    return VTrace(targets, rho * (rewards + discount * following - values))


def check_number(name: str, value: Any, *, least: float = 0.0, most: float = math.inf) -> None:
    """Refuse what is not one number from ``least`` to ``most``; of a traced one the value is known to nobody yet.

    Raises:
        TypeError: It is no number.
        ValueError: It is out of range, nan, or an array of several.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.number | np.ndarray | jax.Array):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__} {value!r}")
    if np.shape(value):
        raise ValueError(f"{name}: expected one number, got an array of shape {np.shape(value)}")
    if not isinstance(value, jax.core.Tracer) and not least <= value <= most:
        wanted = f"of at least {least:g}" if most == math.inf else f"from {least:g} to {most:g}"
        raise ValueError(f"{name}: expected a number {wanted}, got {value}")


def _check_rates(discount: Any, trace: Any) -> None:
    check_number("discount", discount, most=1)
    check_number("trace", trace, most=1)


def _trajectory(terminated: Any, truncated: Any, **numbers: Any) -> tuple[list[Array], Array, Array]:
    """The numbers in one dtype, where values end, and where sums end: there, at truncations, and at the last step."""
    arrays = {name: jnp.asarray(value) for name, value in numbers.items()}
    ends = {"terminated": jnp.asarray(terminated), "truncated": jnp.asarray(truncated)}
    shape = arrays["rewards"].shape
    for name, array in (arrays | ends).items():
        if array.shape != shape or not array.ndim or not len(array):
            raise ValueError(
                f"{name}: expected the shape of rewards, [time, …] of at least one step, got {array.shape} and rewards "
                f"of {shape}"
            )
    for name, array in arrays.items():
        if not jnp.issubdtype(array.dtype, jnp.floating) and not jnp.issubdtype(array.dtype, jnp.integer):
            raise TypeError(f"{name}: expected numbers, got {array.dtype}")
    for name, array in ends.items():
        if array.dtype != jnp.bool_:
            raise TypeError(f"{name}: expected booleans, true at the ends of episodes, got {array.dtype}")
    # Sums of many rewards need the precision.
    dtype = jnp.promote_types(jnp.result_type(*arrays.values()), jnp.float32)
    cut = (ends["terminated"] | ends["truncated"]).at[-1].set(True)
    return [array.astype(dtype) for array in arrays.values()], ends["terminated"], cut


def _backwards(offset: Array, factor: Array, cut: Array) -> Array:
    """``x_t = offset_t + factor_t x_{t+1}``, without the second part where sums end."""

    def step(later: Array, now: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        offset, factor, cut = now
        # Not a factor of 0: what is not finite in one episode is none of the others' concern.
        sums = offset + jnp.where(cut, 0, factor * later)
        return sums, sums

    # On two cores an associative scan takes 1 to 7 times as long, from [16, 256] to [2048, 256], and compiles 3 to 20
    # times as long; unrolling gains nothing either.
    inputs = offset, jnp.broadcast_to(factor, offset.shape), cut
    return lax.scan(step, varying_like(jnp.zeros_like(offset[0]), offset), inputs, reverse=True)[1]
