"""From tokens to arrays: rows of one length, windows of a long text, pairs to translate."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stepax.checks import check_count, check_key
from stepax.source import Source
from stepax.text.tokens import BEGIN, END, PADDING
from stepax.typing import Array, Key, Tree

__all__ = ["padded", "pairs", "random_windows", "windows"]


def padded(sequences: Sequence[Any], length: int | None = None, *, name: str = "sequences") -> np.ndarray:
    """Rows of tokens as one array, filled up at the end with token 0.

    What is too long is refused, not cut: ``[tokens[:length] for tokens in sequences]`` says that it may be.

    Args:
        sequences: Rows of tokens: lists or arrays ``[time]``, none of them empty.
        length: How long every row becomes; ``None``: as the longest.
        name: What the caller calls ``sequences``, for messages.

    Returns:
        ``[n, length]`` int32. What is real is ``tokens != 0``.

    Raises:
        TypeError: A row holds something else than whole numbers, or ``length`` is none.
        ValueError: There are no rows, or one is empty, longer than ``length``, or holds token 0 or a negative one.

    >>> padded([[5, 2], [7]])
    array([[5, 2],
           [7, 0]], dtype=int32)
    """
    rows = [_row(tokens, f"{name}[{i}]", PADDING + 1) for i, tokens in enumerate(sequences)]
    if not rows:
        raise ValueError(f"{name}: expected at least one row of tokens, got none")
    longest = max(map(len, rows))
    check_count("length", 1 if length is None else length)
    length = longest if length is None else length
    if longest > length:
        first = next(i for i, row in enumerate(rows) if len(row) > length)
        raise ValueError(f"{name}[{first}] has {len(rows[first])} tokens: expected at most length={length}")
    array = np.full((len(rows), length), PADDING, np.int32)
    for i, row in enumerate(rows):
        array[i, : len(row)] = row
    return array


def windows(tokens: Any, context: int) -> dict[str, np.ndarray]:
    """A text in windows side by side, to learn or measure every next token once.

    Args:
        tokens: The text's tokens ``[time]``, at least two.
        context: How many tokens a window has.

    Returns:
        ``x [n, context]`` and ``y``, the token after each, with ``n`` windows for all ``time - 1`` tokens that follow
        another. Where these fill no whole number of windows, the last is filled up with token 0, and there is a
        ``weight [n, context]``, float32, of 0 at these places.

    Raises:
        TypeError: The tokens are no row of whole numbers, or ``context`` is none.
        ValueError: There are fewer than two tokens or a negative one, or ``context`` is below 1.

    >>> windows([1, 2, 3, 4, 5], 2)["y"]
    array([[2, 3],
           [4, 5]], dtype=int32)
    """
    check_count("context", context)
    row = _row(tokens, "tokens", 0)
    if len(row) < 2:
        raise ValueError("tokens: expected at least two, one to follow the other, got one")
    count = len(row) - 1
    missing = -count % context
    x, y = (np.pad(part, (0, missing)).reshape(-1, context) for part in (row[:-1], row[1:]))
    if not missing:
        return {"x": x, "y": y}
    weight = np.pad(np.ones(count, np.float32), (0, missing)).reshape(-1, context)
    return {"x": x, "y": y, "weight": weight}


def random_windows(tokens: Any, context: int, batch_size: int, length: int, key: Key) -> Source:
    """Windows of a text at random places, each place as likely as another.

    The text is an argument of the compiled program, once, however many windows are drawn from it.

    Args:
        tokens: The text's tokens ``[time]``, more than ``context``.
        context: How many tokens a window has.
        batch_size: Windows a batch.
        length: Batches an epoch.
        key: The root of the places: those of epoch ``e`` are what NumPy's PCG64 draws from the key's words and ``e``.

    Returns:
        The source: ``x [batch_size, context]``, and ``y``, the token after each.

    Raises:
        TypeError: The tokens are no row of whole numbers, a count is none, or ``key`` is no typed key.
        ValueError: The text has no more tokens than ``context``, or holds a negative one; a count is below 1; there are
            several keys.
    """
    for argument, value in {"context": context, "batch_size": batch_size, "length": length}.items():
        check_count(argument, value)
    check_key(key)
    row = _row(tokens, "tokens", 0)
    places = len(row) - context
    if places < 1:
        raise ValueError(
            f"tokens: the text has {len(row)}: expected more than context={context}, as a token follows each window"
        )
    text, words = jnp.asarray(row), np.asarray(jax.random.key_data(key)).tolist()

    def order(epoch: int) -> Tree:
        random = np.random.Generator(np.random.PCG64([*words, epoch]))
        starts = random.integers(places, size=(length, batch_size), dtype=np.int32)
        return {"starts": jnp.asarray(starts), "tokens": text}

    return Source(length, order, TakeWindows(context))


@dataclasses.dataclass(frozen=True)
class TakeWindows:
    """Batch ``i`` of an order ``{"starts": [length, batch], "tokens": [time]}``; equal ones share programs."""

    context: int

    def __call__(self, order: Tree, i: Array) -> dict[str, Any]:
        """The batch; pure."""
        starts = jnp.take(order["starts"], i, axis=0, mode="clip")
        places = starts[:, None] + jnp.arange(self.context + 1, dtype=starts.dtype)[None, :]
        found = jnp.take(order["tokens"], places, axis=0, mode="clip")
        return {"x": found[:, :-1], "y": found[:, 1:]}


def pairs(source: Sequence[Any], target: Sequence[Any]) -> dict[str, Any]:
    """Texts and their translations, for a model that is told the right word after each of its own.

    Args:
        source: The tokens of each text.
        target: The tokens of each translation, from token 2, the begin, to token 3, the end, as a vocabulary with both
            encodes them.

    Returns:
        ``x``: ``source [n, s]`` and ``target [n, t]``, the translations without their ends; ``y [n, t]``, the
        translations without their begins; ``weight [n, t]`` float32, 0 at padding. All are filled up with token 0.

    Raises:
        TypeError: A row holds something else than whole numbers.
        ValueError: There are not as many translations as texts, or none; a row is empty, or holds token 0 or a negative
            one; a translation does not begin with token 2 and end with token 3.

    >>> pairs([[4, 5]], [[2, 6, 3]])["y"]
    array([[6, 3]], dtype=int32)
    """
    if len(source) != len(target):
        raise ValueError(f"target: expected a translation for each of {len(source)} texts, got {len(target)}")
    read, rows = padded(source, name="source"), [_row(row, f"target[{i}]", 1) for i, row in enumerate(target)]
    for i, row in enumerate(rows):
        if len(row) < 2 or row[0] != BEGIN or row[-1] != END:
            raise ValueError(
                f"target[{i}]: expected tokens from {BEGIN} (begin) to {END} (end), as a vocabulary made with "
                f"begin=True, end=True gives them, got {len(row)} from {row[0]} to {row[-1]}"
            )
    y = padded([row[1:] for row in rows])
    weight = (y != PADDING).astype(np.float32)
    return {"x": {"source": read, "target": padded([row[:-1] for row in rows])}, "y": y, "weight": weight}


def _row(tokens: Any, name: str, least: int) -> np.ndarray:
    """A row of tokens ``[time]`` int32, of at least ``least`` each."""
    row = np.asarray(tokens)
    if row.ndim != 1 or (row.size and row.dtype.kind not in "iu"):
        raise TypeError(f"{name}: expected a row of whole numbers, got {row.dtype} of shape {list(row.shape)}")
    if not row.size:
        raise ValueError(f"{name} is empty: expected at least one token")
    wrong = (row < least) | (row > np.iinfo(np.int32).max)
    if wrong.any():
        i = int(wrong.argmax())
        padding = ", as 0 is padding" if row[i] == PADDING else ""
        raise ValueError(f"{name}[{i}] is {row[i]}: expected tokens of at least {least}{padding}")
    return row.astype(np.int32)
