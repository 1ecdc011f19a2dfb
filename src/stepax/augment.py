"""Augmentation inside of the training step: pure functions ``(key, batch) -> batch``, on the device.

Images are ``batch["x"]``, ``[batch, height, width, channels]``, of any dtype. Settings are keyword arguments, meant for
:func:`functools.partial`, as those of the losses::

    learner = augmented(learner, partial(crop, padding=4), flip, partial(mixup, classes=10))
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count
from stepax.gradient import gradient as plain
from stepax.keys import flat
from stepax.learner import Learner, State, check_learner, step_key
from stepax.typing import Array, Gradient, Key, Metrics

__all__ = ["augmented", "crop", "cutout", "flip", "mixup"]

# Folded into a step's key: no model and no part of a batch has a key of this number, nor has ``evaluate``.
NUMBER = np.uint32(2**32 - 2)


def augmented(learner: Learner, *functions: Callable[[Key, Any], Any]) -> Learner:
    """The same learner, which trains on batches that were changed at random.

    Every step draws anew, from the step's key; the model's own draws are those that it would make without.
    ``evaluate`` and ``predict`` see their data as they are. Apply it once, with all functions: a second time would draw
    from the same keys.

    Args:
        learner: What to train.
        functions: ``(key, batch) -> batch`` each, applied in turn with keys of their own. They are traced into the
            step, and keep the number of rows.

    Returns:
        A learner with the same state. Of a population each lane augments by itself:
        ``population(augmented(learner, flip), 8)``.

    Raises:
        TypeError: No learner, or what is no function.
        ValueError: There are no functions. In the first step: the state is that of a population.
    """
    check_learner(learner)
    if not functions:
        raise ValueError("functions: expected at least one function (key, batch) -> batch, such as stepax.augment.flip")
    for function in functions:
        if not callable(function):
            raise TypeError(f"functions: expected functions (key, batch) -> batch, got {function!r}")

    def step(state: State, batch: Any, gradient: Gradient = plain) -> tuple[State, Metrics]:
        if state.key.shape:
            raise ValueError("augmented: expected the state of one model; write population(augmented(…), size)")
        keys = jax.random.split(jax.random.fold_in(step_key(state), NUMBER), len(functions))
        for function, key in zip(functions, keys, strict=True):
            batch = function(key, batch)
        return learner.step(state, batch, gradient=gradient)

    return learner._replace(step=step)


def crop(key: Key, batch: Any, *, padding: int) -> Any:
    """Images shifted by up to ``padding`` pixels each way: padded with zeros, and cut out at a random place.

    Args:
        key: Draws the places, uniformly.
        batch: ``x``, ``[batch, height, width, channels]``.
        padding: Pixels on every side; 0 changes nothing.

    Returns:
        The batch with ``x`` of the same shape.

    Raises:
        TypeError: ``padding`` is no whole number.
        ValueError: It is negative, or ``x`` are no images.
    """
    check_count("padding", padding, 0)
    x = _images(batch)
    padded = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    corners = jax.random.randint(flat(key), (x.shape[0], 2), 0, 2 * padding + 1)
    cut = jax.vmap(lambda image, corner: jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), x.shape[1:]))
    return {**batch, "x": cut(padded, corners)}


def flip(key: Key, batch: Any) -> Any:
    """Images mirrored left to right, every second one on average.

    Args:
        key: Draws which.
        batch: ``x``, ``[batch, height, width, channels]``.

    Returns:
        The batch with ``x`` of the same shape.

    Raises:
        ValueError: ``x`` are no images.
    """
    x = _images(batch)
    mirrored = jax.random.bernoulli(key, 0.5, (x.shape[0],))
    return {**batch, "x": jnp.where(mirrored[:, None, None, None], x[:, :, ::-1], x)}


def cutout(key: Key, batch: Any, *, size: int, fill: float = 0.0) -> Any:
    """A square of every image blanked out.

    Its middle is anywhere in the image, so that a part of it may lie outside.

    Args:
        key: Draws the middles, uniformly.
        batch: ``x``, ``[batch, height, width, channels]``.
        size: The square's side in pixels.
        fill: What is put in its place, such as the mean of the pixels.

    Returns:
        The batch with ``x`` of the same shape.

    Raises:
        TypeError: ``size`` is no whole number.
        ValueError: It is below 1, or ``x`` are no images.

    Reference:
        DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017,
        arXiv:1708.04552.
    """
    check_count("size", size)
    x = _images(batch)
    row_key, column_key = jax.random.split(key)

    def inside(key: Key, length: int) -> Array:
        first = jax.random.randint(key, (x.shape[0], 1), 0, length) - size // 2
        places = jnp.arange(length)[None, :]
        return (places >= first) & (places < first + size)

    blank = inside(row_key, x.shape[1])[:, :, None] & inside(column_key, x.shape[2])[:, None, :]
    return {**batch, "x": jnp.where(blank[..., None], jnp.asarray(fill, x.dtype), x)}


def mixup(key: Key, batch: Any, *, alpha: float = 0.2, classes: int | None = None) -> Any:
    r"""Every example blended with another one of the batch, and so are their targets.

    .. math:: \tilde x = \lambda x_i + (1 - \lambda) x_j, \quad \tilde y = \lambda y_i + (1 - \lambda) y_j, \quad
        \lambda \sim \mathrm{Beta}(\alpha, \alpha)

    One :math:`\lambda` is drawn for a batch, and a permutation says which ``j`` belongs to ``i``. A ``weight`` stays
    that of example ``i``.

    Args:
        key: Draws both.
        batch: ``x``, an array ``[batch, …]`` of any shape, and ``y``.
        alpha: Positive; the smaller, the nearer to 0 or 1 is :math:`\lambda`.
        classes: How many there are, where ``y`` are integer labels; they become soft targets ``[batch, …, classes]``,
            which :func:`stepax.losses.cross_entropy` takes. ``None`` blends ``y`` as numbers.

    Returns:
        The batch with ``x`` and ``y`` in floating point.

    Raises:
        TypeError: ``classes`` is no whole number.
        ValueError: ``alpha`` is not positive, ``classes`` is below 1, ``y`` are labels and ``classes`` is ``None``, or
            the other way around; ``x`` or ``y`` is missing.

    Reference:
        Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018, arXiv:1710.09412.
    """
    if not alpha > 0:
        raise ValueError(f"alpha: expected a positive number, got {alpha}")
    share_key, partner_key = jax.random.split(key)
    x = _field(batch, "x")
    # Two gammas make a beta; jax.random.beta draws them one by one, and takes twice as long to compile.
    first, second = jax.random.loggamma(share_key, alpha, (2,))
    share = jax.nn.sigmoid(first - second)
    partners = jax.random.permutation(partner_key, x.shape[0])

    def blended(values: Array) -> Array:
        values = values if jnp.issubdtype(values.dtype, jnp.floating) else values.astype(jnp.float32)
        lam = share.astype(values.dtype)
        return lam * values + (1 - lam) * values[partners]

    return {**batch, "x": blended(x), "y": blended(_targets(_field(batch, "y"), classes))}


def _targets(y: Array, classes: int | None) -> Array:
    """Labels as one-hot rows; numbers as they are."""
    labels = jnp.issubdtype(y.dtype, jnp.integer)
    if labels != (classes is not None):
        expected = "how many classes there are" if labels else "None"
        raise ValueError(f"classes: expected {expected} for a y of {y.dtype}, got {classes}")
    if classes is None:
        return y
    check_count("classes", classes)
    return jax.nn.one_hot(y, classes)


def _field(batch: Any, name: str) -> Array:
    if not isinstance(batch, Mapping) or name not in batch:
        found = f"one with {sorted(batch)}" if isinstance(batch, Mapping) else type(batch).__name__
        raise ValueError(f"batch: expected a dict with {name!r}, got {found}")
    return jnp.asarray(batch[name])


def _images(batch: Any) -> Array:
    x = _field(batch, "x")
    if x.ndim != 4:
        raise ValueError(f'batch["x"]: expected images [batch, height, width, channels], got shape {list(x.shape)}')
    return x
