"""A continuation is what a plain loop over the whole text would have drawn, in any chunks and any batch."""

from functools import cache
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from tests.parameters import drawn

from stepax import nn
from stepax.text import continuation, generation
from stepax.text.generation import generate, stream
from stepax.text.language_model import LSTMLanguageModel
from stepax.text.sampling import sample

VOCABULARY, CONTEXT = 11, 8
KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)


class Sums(linen.Module):
    """Logits by the sum of all visible tokens' vectors, each turned by its place; holds ``context`` tokens at most."""

    context: int = CONTEXT
    vocabulary: int = VOCABULARY
    width: ClassVar[int] = 6

    @linen.compact
    def _read(self, tokens, state, mask):
        sums, places = state
        table = self.param("tokens", linen.initializers.normal(1.0), (self.vocabulary, self.width))
        head = self.param("head", linen.initializers.normal(2.0), (self.width, self.vocabulary))
        real = jnp.ones(tokens.shape, bool) if mask is None else jnp.asarray(mask, bool)
        place = places[:, None] + jnp.cumsum(real, axis=1)
        turned = table[tokens] * jnp.cos(place[..., None] * (1.0 + jnp.arange(self.width)[None, None]))
        sums = sums[:, None] + jnp.cumsum(jnp.where(real[..., None], turned, 0), axis=1)
        return jnp.tanh(sums) @ head, (sums[:, -1], place[:, -1])

    def __call__(self, tokens):
        return self._read(tokens, self.start(len(tokens)), None)[0]

    def start(self, batch):
        return jnp.zeros((batch, self.width)), jnp.zeros(batch, jnp.int32)

    def extend(self, tokens, state, mask=None):
        return self._read(tokens, state, mask)


MODULES = {
    "sums": Sums(),
    "lstm": LSTMLanguageModel(VOCABULARY, 5, 1),
    "decoder": nn.Decoder(VOCABULARY, 8, 2, 2, CONTEXT),
    "decoder, rotary, scanned": nn.Decoder(
        VOCABULARY, 8, 2, 2, CONTEXT, positions=nn.positions.rotary(), stack=nn.scanned()
    ),
}


def model(name):
    """A module, and parameters under which what was read matters."""
    return MODULES[name], drawn(MODULES[name], jnp.zeros((1, 2), jnp.int32))["params"]


def prompts(batch, time):
    return RANDOM.integers(0, VOCABULARY, size=(batch, time)).astype(np.int32)


@cache
def last_logits(module):
    return jax.jit(lambda params, tokens: module.apply({"params": params}, tokens)[:, -1])


def by_hand(module, params, prompt, length, key, end=None, **settings):
    """One forward pass over all that is visible for every token; a full context goes on from its last half."""
    context = module.context
    text = np.asarray(prompt)[:, -(context or 0) :]
    new, done = [], np.zeros(len(text), bool)
    for i in range(length):
        logits = last_logits(module)(params, text)
        token = np.asarray(sample(logits, jax.random.fold_in(key, i), **settings))
        token = np.where(done, 0, token)
        done |= token == end
        new.append(token)
        if context is not None and text.shape[1] == context:
            text = text[:, context - context // 2 :]
        text = np.concatenate([text, token[:, None]], axis=1)
    return np.stack(new, axis=1)


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"temperature": 0.8, "top_k": 7, "top_p": 0.9}], ids=str)
@pytest.mark.parametrize("time", [1, 3, CONTEXT + 3])
@pytest.mark.parametrize("name", MODULES)
def test_a_continuation_is_that_of_a_plain_loop(name, time, settings):
    module, params = model(name)
    prompt = prompts(3, time)
    tokens = generate(module, params, prompt, 2 * CONTEXT + 3, KEY, **settings)
    assert tokens.shape == (3, 2 * CONTEXT + 3)
    assert tokens.dtype == jnp.int32
    np.testing.assert_array_equal(tokens, by_hand(module, params, prompt, 2 * CONTEXT + 3, KEY, **settings))


@pytest.mark.parametrize("context", [1, 2, 3])
def test_a_small_context(context):
    module = Sums(context)
    params = module.init(KEY, prompts(1, 1))["params"]
    prompt = prompts(2, 4)
    np.testing.assert_array_equal(
        generate(module, params, prompt, 9, KEY), by_hand(module, params, prompt, 9, KEY), strict=False
    )


@pytest.mark.parametrize("chunk", [1, 5, 16, 100])
@pytest.mark.parametrize("name", ["sums", "decoder"])
def test_a_stream_has_the_same_bits(name, chunk):
    module, params = model(name)
    prompt, length = prompts(2, 3), 2 * CONTEXT
    chunks = list(stream(module, params, prompt, length, KEY, chunk=chunk))
    assert [part.shape[1] for part in chunks] == [min(chunk, length - i) for i in range(0, length, chunk)]
    assert all(isinstance(part, np.ndarray) and part.dtype == np.int32 for part in chunks)
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), generate(module, params, prompt, length, KEY))


def test_after_the_end_comes_padding():
    module, params = model("sums")
    prompt, length = prompts(8, 3), 30
    free = np.asarray(generate(module, params, prompt, length, KEY))
    end = int(free[0, 3])
    tokens = np.asarray(generate(module, params, prompt, length, KEY, end=end))
    np.testing.assert_array_equal(tokens, by_hand(module, params, prompt, length, KEY, end=end))
    ended = [row.tolist().index(end) if end in row else length for row in tokens]
    assert min(ended) < max(ended)
    for row, other, last in zip(tokens, free, ended, strict=True):
        np.testing.assert_array_equal(row[: last + 1], other[: last + 1])
        assert (row[last + 1 :] == 0).all()
    parts = list(stream(module, params, prompt, length, KEY, end=end, chunk=4))
    made = np.concatenate(parts, axis=1)
    np.testing.assert_array_equal(made, tokens[:, : made.shape[1]])
    assert (tokens[:, made.shape[1] :] == 0).all()


def test_nothing_is_computed_when_all_have_ended(monkeypatch):
    module, params = model("lstm")
    calls = []
    free = np.asarray(generate(module, params, [[1]], 12, KEY))[0]
    real = continuation.extend

    def counted(*given, **named):
        jax.debug.callback(lambda: calls.append(1))
        return real(*given, **named)

    monkeypatch.setattr(continuation, "extend", counted)
    generation._whole.cache_clear()
    end = int(free[3])
    generate(module, params, [[1]], 12, KEY, end=end).block_until_ready()
    jax.effects_barrier()
    generation._whole.cache_clear()
    assert len(calls) == free.tolist().index(end) + 1
    assert len(list(stream(module, params, [[1]], 1000, KEY, end=end, chunk=5))) == 1


@pytest.mark.parametrize("name", ["sums", "lstm", "decoder", "decoder, rotary, scanned"])
def test_padding_on_any_side_changes_nothing(name):
    """As long as the context holds all: greedy, as the keys of rows differ."""
    module, params = model(name)
    rows = [prompts(1, time) for time in (1, 2, 4)]
    alone = [np.asarray(generate(module, params, row, 4, KEY, temperature=0))[0] for row in rows]
    left = np.concatenate([np.pad(row, ((0, 0), (5 - row.shape[1], 0)), constant_values=3) for row in rows])
    right = np.concatenate([np.pad(row, ((0, 0), (0, 5 - row.shape[1])), constant_values=3) for row in rows])
    real = np.arange(5) < np.array([[1], [2], [4]])
    for padded, mask in ((left, real[:, ::-1]), (right, real)):
        together = generate(module, params, padded, 4, KEY, temperature=0, mask=mask)
        np.testing.assert_array_equal(together, np.stack(alone))


def test_a_full_context_forgets_padding_too():
    """The context is full for all rows at once: a row of three tokens in five columns loses its first ones then."""
    module, params = model("sums")
    prompt, mask = prompts(2, 5), np.array([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]], bool)
    tokens = np.asarray(generate(module, params, prompt, 12, KEY, temperature=0, mask=mask))
    # Columns 0 to 7 are full with the third new token; the fourth needs the last four columns alone.
    whole = jax.jit(lambda text: module.apply({"params": params}, text)[:, -1].argmax(-1))
    for row, first in ((0, 2), (1, 0)):
        text = prompt[row, first:].tolist()
        for i in range(12):
            assert tokens[row, i] == whole(np.array([text]))[0]
            if (i + 5) in (8, 12, 16):
                text = text[-4:]
            text.append(int(tokens[row, i]))


def test_rows_do_not_depend_on_one_another():
    module, params = model("decoder")
    prompt = prompts(4, 3)
    other = prompt.copy()
    other[2:] = (other[2:] + 1) % VOCABULARY
    first, second = (np.asarray(generate(module, params, p, 12, KEY)) for p in (prompt, other))
    np.testing.assert_array_equal(first[:2], second[:2])
    assert (first[2:] != second[2:]).any()
    same = np.asarray(generate(module, params, np.repeat(prompt[:1], 4, axis=0), 12, KEY))
    assert len(np.unique(same, axis=0)) > 1


@pytest.mark.parametrize(
    "settings", [{"temperature": 0.0}, {"temperature": 0.8, "top_k": 7, "top_p": 0.9, "end": 2}], ids=str
)
@pytest.mark.parametrize("name", ["sums", "lstm", "decoder"])
def test_parts_on_several_cores_make_the_same_texts(name, settings, monkeypatch):
    module, params = model(name)
    prompt, mask = prompts(12, 5), np.arange(5) >= RANDOM.integers(0, 4, size=(12, 1))
    given = {"length": 2 * CONTEXT, "key": KEY, "mask": mask, **settings}
    monkeypatch.setattr(generation, "cores", lambda: 1)
    whole = generate(module, params, prompt, **given)
    monkeypatch.setattr(generation, "cores", lambda: 3)
    np.testing.assert_array_equal(generate(module, params, prompt, **given), whole)
    chunks = np.concatenate(list(stream(module, params, prompt, chunk=5, **given)), axis=1)
    np.testing.assert_array_equal(chunks, whole[:, : chunks.shape[1]])


@pytest.mark.parametrize(
    ("batch", "cores", "rows"),
    [(12, 3, 4), (12, 2, 6), (12, 1, 12), (11, 3, 11), (7, 3, 7), (8, 16, 4), (1, 2, 1), (30, 4, 10)],
)
def test_parts_are_equal_and_not_too_small(batch, cores, rows, monkeypatch):
    module, params = model("sums")
    monkeypatch.setattr(generation, "cores", lambda: cores)
    _, parts = generation._prepared(module, params, prompts(batch, 2), 1, KEY, 1.0, None, None, None, None)
    assert [len(prompt) for prompt, _, _ in parts] == [rows] * (batch // rows)
    assert [first for _, _, first in parts] == list(range(0, batch, rows))


def test_nan_of_any_part_is_told(monkeypatch):
    module, params = model("lstm")
    monkeypatch.setattr(generation, "cores", lambda: 2)
    broken = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), params)
    with pytest.raises(ValueError, match="NaN for 8 of 8 rows"):
        generate(module, broken, prompts(8, 2), 4, KEY)


def test_one_program_for_all_temperatures_and_nuclei():
    module, params = model("sums")
    generation._whole.cache_clear()
    for temperature, top_p in ((1.0, 0.9), (0.5, 0.7), (2.0, 1.0)):
        generate(module, params, prompts(1, 3), 4, KEY, temperature=temperature, top_p=top_p)
    assert generation._whole.cache_info().misses == 1
    plan = continuation.Plan(module, continuation.Choice(False, None, True), None)
    assert generation._whole(plan, 4)._function._cache_size() == 1


def test_a_stream_compiles_nothing_for_another_length():
    module, params = model("sums")
    assert [part.shape for part in stream(module, params, [[1, 2]], 3, KEY, chunk=5)] == [(1, 3)]
    with jax.no_tracing(True):
        parts = list(stream(module, params, [[1, 2]], 12, KEY, chunk=5))
    assert [part.shape for part in parts] == [(1, 5), (1, 5), (1, 2)]


@pytest.mark.parametrize("temperature", [0.7, 0.0])
def test_settings_may_be_arrays(temperature):
    module, params = model("sums")
    given = {"temperature": jnp.float32(temperature), "top_p": jnp.float32(0.9)}
    np.testing.assert_array_equal(
        generate(module, params, [[1, 2]], 9, KEY, **given),
        generate(module, params, [[1, 2]], 9, KEY, temperature=temperature, top_p=0.9),
    )


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_parameters_that_give_nan_are_an_error(temperature):
    module, params = model("sums")
    # The vector of one token: a text goes wrong where it comes.
    broken = {**params, "tokens": params["tokens"].at[3].set(jnp.nan)}
    settings = {"temperature": temperature}
    message = "params: the model answers NaN for 1 of 2 rows, the first row 1: expected parameters that are finite"
    prompt = np.array([[1, 2], [3, 2]])
    with pytest.raises(ValueError, match=message):
        generate(module, broken, prompt, 1, KEY, **settings)
    with pytest.raises(ValueError, match=message):
        next(stream(module, broken, prompt, 9, KEY, chunk=1, **settings))
    found, expected = (generate(module, p, prompt[:1], 1, KEY, **settings) for p in (broken, params))
    np.testing.assert_array_equal(found, expected)


def test_nan_after_the_end_is_no_error():
    class Forgetful(Sums):
        """The first text is answered by 5, and then by NaN, all others by 6."""

        def extend(self, tokens, state, mask=None):
            logits, state = self._read(tokens, state, mask)
            first = jnp.arange(len(tokens)) == 0
            wanted = 100.0 * jax.nn.one_hot(jnp.where(first, 5, 6), self.vocabulary)
            lost = first & (state[1] > 2)
            return jnp.where(lost[:, None, None], jnp.nan, logits * 0 + wanted[:, None]), state

    module = Forgetful()
    params = module.init(KEY, prompts(1, 1))["params"]
    given = module, params, [[1, 2], [1, 2]], 4, KEY
    assert generate(*given, end=5).tolist() == [[5, 0, 0, 0], [6, 6, 6, 6]]
    with pytest.raises(ValueError, match="NaN for 1 of 2 rows, the first row 0"):
        generate(*given, end=7)


def test_keys_decide():
    module, params = model("sums")
    first, again, other = (generate(module, params, [[1, 2]], 20, jax.random.key(i)) for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"prompt": [[]]}, ValueError, "prompt: expected at least one token"),
        ({"prompt": [[1, VOCABULARY]]}, ValueError, "prompt: expected tokens from 0 to 10"),
        ({"length": 0}, ValueError, "length: expected at least 1, got 0"),
        ({"length": 2.0}, TypeError, "length: expected a whole number"),
        ({"key": 0}, TypeError, "key: expected a typed key"),
        ({"temperature": -0.5}, ValueError, "temperature: expected a number of at least 0"),
        ({"top_k": 12}, ValueError, "top_k: expected at most 11"),
        ({"top_p": 1.1}, ValueError, "top_p: expected a number in"),
        ({"mask": [[0, 0]]}, ValueError, "mask: expected a real token in every row, and row 0 is hidden"),
        ({"end": 11}, ValueError, "end: expected a token from 0 to 10, got 11"),
        ({"end": -1}, ValueError, "end: expected at least 0, got -1"),
        ({"end": 2.5}, TypeError, "end: expected a whole number, got float 2.5"),
        ({"module": nn.MLP((2,))}, TypeError, "module: expected one that continues texts.*got MLP, which has no start"),
    ],
    ids=str,
)
@pytest.mark.parametrize("function", [generate, stream])
def test_bad_input(function, settings, error, message):
    module, params = model("sums")
    given = {"module": module, "params": params, "prompt": [[1, 2]], "length": 3, "key": KEY, **settings}
    with pytest.raises(error, match=message):
        function(**given)


def test_a_chunk_of_nothing():
    module, params = model("sums")
    with pytest.raises(ValueError, match="chunk: expected at least 1, got 0"):
        stream(module, params, [[1]], 3, KEY, chunk=0)
