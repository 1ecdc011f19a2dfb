"""The arithmetic of layer sizes."""

import operator

__all__ = ["conv_output_size"]

Padding = int | tuple[int, int] | str


def conv_output_size(n: int, kernel: int, stride: int = 1, padding: Padding = 0, dilation: int = 1) -> int:
    r"""The output size of a convolution or a pooling along one axis.

    .. math:: \left\lfloor \frac{n + p_\mathrm{low} + p_\mathrm{high} - d (k - 1) - 1}{s} \right\rfloor + 1

    Args:
        n: The input size.
        kernel: The kernel size ``k``.
        stride: ``s``.
        padding: A number for both ends, a pair ``(low, high)``, or as in Flax ``"SAME"`` (output ``⌈n / s⌉``),
            ``"VALID"`` (none), ``"CAUSAL"`` (``d (k − 1)`` at the low end), ``"CIRCULAR"`` or ``"REFLECT"``
            (``d (k − 1)`` in all, half at either end).
        dilation: The distance ``d`` between the kernel's entries.

    Returns:
        The output size, at least 1.

    Raises:
        TypeError: An argument is no integer.
        ValueError: An argument is not positive, a padding is negative or unknown, or no output is left.

    Reference:
        Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, arXiv:1603.07285.

    >>> conv_output_size(28, kernel=5, stride=2, padding=2)
    14
    """
    arguments = {"n": n, "kernel": kernel, "stride": stride, "dilation": dilation}
    n, kernel, stride, dilation = (_integer(name, value, 1) for name, value in arguments.items())
    reach = dilation * (kernel - 1) + 1
    if padding == "SAME":
        return -(-n // stride)
    low, high = _ends(padding, reach)
    padded = n + low + high
    if padded < reach:
        raise ValueError(
            f"kernel: no output is left, since the kernel reaches over {reach} and the padded input "
            f"has {padded} ({low} + {n} + {high})"
        )
    return (padded - reach) // stride + 1


def _ends(padding: Padding, reach: int) -> tuple[int, int]:
    """The padding at the low and at the high end."""
    if isinstance(padding, str):
        around = (reach - 1) // 2, reach // 2
        named = {"VALID": (0, 0), "CAUSAL": (reach - 1, 0), "CIRCULAR": around, "REFLECT": around}
        if padding not in named:
            names = ", ".join(f'"{name}"' for name in ("SAME", *named))
            raise ValueError(f"padding: expected a number, a pair, or one of {names}, got {padding!r}")
        return named[padding]
    pair = padding if isinstance(padding, tuple | list) else (padding, padding)
    if len(pair) != 2:
        raise ValueError(f"padding: expected a pair (low, high), got {padding!r}")
    low, high = (_integer("padding", end, 0) for end in pair)
    return low, high


def _integer(name: str, value: int, least: int) -> int:
    """The value as an int, if it is one and not below the least."""
    try:
        value = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if value < least:
        raise ValueError(f"{name}: expected at least {least}, got {value}")
    return value
