"""Fixed image filters, each channel by itself, on images ``[batch, height, width, channels]``.

A filter keeps the size: the image goes on beyond its border as ``jnp.pad`` does in the given ``border`` mode.
``"reflect"`` mirrors it about the centre of the edge pixel (SciPy calls this ``"mirror"``), ``"symmetric"`` about its
outer side (SciPy: ``"reflect"``), ``"edge"`` repeats it (``"nearest"``), ``"constant"`` puts zeros.
"""

import functools

import jax.numpy as jnp
import numpy as np

from stepax.targets import host_values
from stepax.typing import Array

__all__ = ["blur", "box_blur", "edges", "filter_images", "gaussian_kernel", "sharpen", "sobel"]

# The modes of ``jnp.pad`` that need no other argument and are the same at every run.
BORDERS = ("constant", "edge", "linear_ramp", "maximum", "mean", "median", "minimum", "reflect", "symmetric", "wrap")


def filter_images(images: Array, kernel: Array, *, border: str = "reflect") -> Array:
    r"""Correlates every channel with one kernel.

    .. math:: y_{ij} = \sum_{ab} k_{ab} x_{i + a - \lfloor h/2 \rfloor,\, j + b - \lfloor w/2 \rfloor}

    Args:
        images: ``[batch, height, width, channels]``; integers are taken as float32.
        kernel: ``[h, w]``. It is not turned round, as in every deep-learning convolution.
        border: How the image goes on beyond its border, a mode of ``jnp.pad``.

    Returns:
        The shape of ``images``.

    Raises:
        ValueError: The images have no four axes, the kernel has no two or no weights, or ``border`` is unknown.
    """
    if border not in BORDERS:
        raise ValueError(f"border: expected one of {', '.join(map(repr, BORDERS))}, got {border!r}")
    images, kernel = jnp.asarray(images), jnp.asarray(kernel)
    if images.ndim != 4 or kernel.ndim != 2 or not kernel.size:
        raise ValueError(
            "images, kernel: expected the shapes [batch, height, width, channels] and [h, w], "
            f"got {images.shape} and {kernel.shape}"
        )
    dtype = images.dtype if jnp.issubdtype(images.dtype, jnp.floating) else jnp.float32
    images, kernel = images.astype(dtype), kernel.astype(dtype)
    (_, height, width, _), (h, w) = images.shape, kernel.shape
    padded = jnp.pad(images, ((0, 0), (h // 2, (h - 1) // 2), (w // 2, (w - 1) // 2), (0, 0)), mode=border)
    # Shifted images fuse into one pass: 6 to 30 times faster on a CPU than a depthwise convolution, and in full
    # precision on every platform.
    shifted = (kernel[a, b] * padded[:, a : a + height, b : b + width] for a in range(h) for b in range(w))
    return functools.reduce(jnp.add, shifted)


def sobel(images: Array, *, border: str = "reflect") -> tuple[Array, Array]:
    """Sobel's horizontal and vertical derivative: ``[-1, 0, 1]`` along one axis times ``[1, 2, 1]`` along the other.

    Args:
        images: ``[batch, height, width, channels]``.
        border: A mode of ``jnp.pad``.

    Returns:
        ``(x, y)``, each of the shape of ``images``, in eight times the change per pixel: ``x`` grows to the right,
        ``y`` downwards.

    Raises:
        ValueError: The images have no four axes, or ``border`` is unknown.

    Reference:
        Sobel and Feldman, "A 3x3 Isotropic Gradient Operator for Image Processing", 1968.
    """
    smooth, slope = jnp.array([[1.0, 2.0, 1.0]]), jnp.array([[-1.0, 0.0, 1.0]])
    horizontal = filter_images(filter_images(images, smooth.T, border=border), slope, border=border)
    vertical = filter_images(filter_images(images, smooth, border=border), slope.T, border=border)
    return horizontal, vertical


def edges(images: Array, *, border: str = "reflect") -> Array:
    r"""The magnitude of Sobel's derivative, :math:`\sqrt{x^2 + y^2}`.

    Args:
        images: ``[batch, height, width, channels]``.
        border: A mode of ``jnp.pad``.

    Returns:
        The shape of ``images``, never negative; its gradient is 0 where the image is flat.

    Raises:
        ValueError: The images have no four axes, or ``border`` is unknown.
    """
    horizontal, vertical = sobel(images, border=border)
    square = jnp.square(horizontal) + jnp.square(vertical)
    # The root has no gradient at 0, and 0 · inf would be nan.
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def gaussian_kernel(size: int, sigma: float) -> Array:
    r"""Weights :math:`\propto e^{-x^2 / 2 \sigma^2}` that sum to 1; the kernel of an image is their outer product.

    Args:
        size: The number of weights, odd.
        sigma: The standard deviation in pixels, positive.

    Returns:
        ``[size]`` float32.

    Raises:
        TypeError: ``size`` is no whole number.
        ValueError: ``size`` is not odd and positive, or ``sigma`` is not positive.
    """
    concrete = host_values(sigma)
    if concrete is not None and not concrete > 0:
        raise ValueError(f"sigma: expected a positive number of pixels, got {sigma}")
    offsets = jnp.arange(_odd(size), dtype=jnp.float32) - size // 2
    weights = jnp.exp(-jnp.square(offsets / sigma) / 2)
    return weights / weights.sum()


def blur(images: Array, size: int = 5, sigma: float = 1.0, *, border: str = "reflect") -> Array:
    """Gaussian blur, one axis after the other.

    Args:
        images: ``[batch, height, width, channels]``.
        size: The side of the kernel in pixels, odd; beyond ``6 sigma`` nothing changes.
        sigma: The standard deviation in pixels, positive.
        border: A mode of ``jnp.pad``.

    Returns:
        The shape of ``images``.

    Raises:
        TypeError: ``size`` is no whole number.
        ValueError: The images have no four axes, ``border`` is unknown, ``size`` is not odd and positive, or
            ``sigma`` is not positive.
    """
    weights = gaussian_kernel(size, sigma)
    return filter_images(filter_images(images, weights[None], border=border), weights[:, None], border=border)


def box_blur(images: Array, size: int = 3, *, border: str = "reflect") -> Array:
    """The mean over a square around every pixel.

    Args:
        images: ``[batch, height, width, channels]``.
        size: The side of the square in pixels, odd.
        border: A mode of ``jnp.pad``.

    Returns:
        The shape of ``images``.

    Raises:
        TypeError: ``size`` is no whole number.
        ValueError: The images have no four axes, ``border`` is unknown, or ``size`` is not odd and positive.
    """
    weights = jnp.full(_odd(size), 1 / size)
    return filter_images(filter_images(images, weights[None], border=border), weights[:, None], border=border)


def sharpen(images: Array, amount: float = 1.0, *, border: str = "reflect") -> Array:
    r"""Takes the Laplacian of the four neighbours away, :math:`y = x - a \nabla^2 x`.

    Args:
        images: ``[batch, height, width, channels]``.
        amount: ``a``; 1 gives the kernel ``[[0, -1, 0], [-1, 5, -1], [0, -1, 0]]``, 0 the image itself.
        border: A mode of ``jnp.pad``.

    Returns:
        The shape of ``images``; values may leave the range of the input.

    Raises:
        ValueError: The images have no four axes, or ``border`` is unknown.
    """
    laplacian = jnp.array([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    identity = jnp.zeros((3, 3)).at[1, 1].set(1)
    return filter_images(images, identity - amount * laplacian, border=border)


def _odd(size: int) -> int:
    """The size, if it is odd and positive."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer):
        raise TypeError(f"size: expected an odd, positive number of pixels, got {size!r}")
    if size < 1 or size % 2 == 0:
        raise ValueError(f"size: expected an odd, positive number of pixels, got {size}")
    return size
