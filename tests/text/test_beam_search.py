"""The search finds what a look at every translation finds, and scores it as teacher forcing does."""

import itertools
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from tests.parameters import drawn

import stepax as sx
from stepax.program import equations
from stepax.text import LSTMTranslator, beam_search, greedy
from stepax.text.beam_search import _beam_search as search_program

BEGIN, END = 2, 3
SOURCE = np.array([[4, 5, 6], [5, 6, 0], [1, 0, 0]], np.int32)


class Table(linen.Module):
    """Logits by the source's sum, the place and the token before; its state has rows on another axis, and none."""

    vocabulary: int = 5
    places: int = 6
    context: ClassVar[int | None] = None

    def setup(self):
        shape = 16, self.places, self.vocabulary, self.vocabulary
        self.table = self.param("table", linen.initializers.normal(1.5), shape)

    def encode(self, source):
        return {"sums": jnp.stack([source.sum(1)] * 2, 1).T, "place": jnp.int32(0)}

    def extend(self, tokens, state, mask=None):
        del mask
        logits = self.table[state["sums"][0][:, None], state["place"], tokens]
        return logits, {"sums": state["sums"], "place": state["place"] + 1}

    def __call__(self, x):
        steps = jnp.arange(x["target"].shape[1])[None]
        return self.table[x["source"].sum(1)[:, None], steps, x["target"]]


MODULES = {
    "table": Table(4),
    "lstm": LSTMTranslator(7, 4, 6, layers=2, bidirectional=True),
    "transformer": sx.nn.Transformer(
        7, 4, 8, layers=2, heads=2, context=6, stack=sx.nn.scanned(), positions=sx.nn.positions.rotary()
    ),
}
LENGTH = 4


def translations(vocabulary, length):
    """All texts of at most so many tokens that end, and those of so many that do not."""
    tokens = [token for token in range(1, vocabulary) if token != END]
    ended = [
        [*text, END] + [0] * (length - 1 - count)
        for count in range(length)
        for text in itertools.product(tokens, repeat=count)
    ]
    return np.array([*ended, *map(list, itertools.product(tokens, repeat=length))], np.int32)


TEXTS = translations(4, LENGTH)


class Known(NamedTuple):
    """A module with all that can be said by it: for each source and text the log-probabilities of every token."""

    module: linen.Module
    params: dict
    logs: np.ndarray  # [sources, texts, length, vocabulary]

    def scores(self, penalty=0.0):
        """By NumPy: ``[sources, texts]``."""
        real = TEXTS != 0
        values = np.take_along_axis(self.logs, TEXTS[None, ..., None], -1)[..., 0] * real[None]
        return values.sum(-1) / ((5 + real.sum(-1)) / 6)[None] ** penalty

    def search(self, source=SOURCE, beams=3, **settings):
        return tuple(map(np.asarray, beam_search(self.module, self.params, source, LENGTH, beams, **settings)))


@pytest.fixture(params=MODULES, scope="module")
def known(request):
    """Parameters that make some tokens much likelier than others, and a pass over every source with every text."""
    module, count = MODULES[request.param], len(SOURCE) * len(TEXTS)
    target = np.concatenate([np.full((len(TEXTS), 1), BEGIN, np.int32), TEXTS[:, :-1]], 1)
    x = {"source": np.repeat(SOURCE, len(TEXTS), 0), "target": np.tile(target, (len(SOURCE), 1))}
    params = drawn(module, x, spread=0.8)["params"]
    logits = np.asarray(jax.jit(lambda params: module.apply({"params": params}, x))(params), np.float64)
    assert logits.shape == (count, LENGTH, 4)
    logits -= logits.max(-1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return Known(module, params, logs.reshape(len(SOURCE), len(TEXTS), LENGTH, 4))


def places(texts):
    """Where texts ``[…, length]`` stand among all of them: that they do says that ends are followed by padding."""
    found = (texts[..., None, :] == TEXTS).all(-1)
    assert (found.sum(-1) == 1).all()
    return found.argmax(-1)


@pytest.mark.parametrize("penalty", [0.0, 1.5])
def test_as_many_beams_as_translations_find_them_all_in_order(known, penalty):
    tokens, scores = known.search(beams=4**LENGTH, penalty=penalty)
    expected = known.scores(penalty)
    for row in range(len(SOURCE)):
        order = places(tokens[row, : len(TEXTS)])
        assert sorted(order) == list(range(len(TEXTS)))
        np.testing.assert_allclose(scores[row, : len(TEXTS)], expected[row, order], 1e-4, 1e-4)
        np.testing.assert_allclose(scores[row, : len(TEXTS)], -np.sort(-expected[row]), 1e-4, 1e-4)
    assert (scores[:, len(TEXTS) :] == -np.inf).all()
    assert not tokens[:, len(TEXTS) :].any()


@pytest.mark.parametrize("penalty", [0.0, 0.6])
@pytest.mark.parametrize("beams", [1, 3])
def test_scores_are_those_of_teacher_forcing_and_no_better_than_the_best(known, beams, penalty):
    tokens, scores = known.search(beams=beams, penalty=penalty)
    assert tokens.shape == (len(SOURCE), beams, LENGTH)
    assert tokens.dtype == np.int32
    expected = known.scores(penalty)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, places(tokens), 1), 1e-4, 1e-4)
    assert (scores[:, 0] <= expected.max(1) + 1e-4).all()
    assert (np.diff(scores) <= 0).all()
    assert all(len(set(row)) == beams for row in places(tokens).tolist())


def test_greedy_takes_the_likeliest_token_at_each_step_as_one_beam_does(known):
    tokens = np.asarray(greedy(known.module, known.params, SOURCE, LENGTH))
    assert tokens.dtype == np.int32
    logs = np.take_along_axis(known.logs, places(tokens)[:, None, None, None], 1)[:, 0]
    logs[..., 0] = -np.inf
    real = tokens != 0
    np.testing.assert_array_equal(logs.argmax(-1)[real], tokens[real])
    np.testing.assert_array_equal(known.search(beams=1)[0][:, 0], tokens)


def test_rows_are_searched_alone(known):
    tokens, scores = known.search()
    changed, others = known.search(np.where(np.arange(3)[:, None] == 1, SOURCE, SOURCE[::-1]))
    np.testing.assert_array_equal(changed[1], tokens[1])
    np.testing.assert_array_equal(others[1], scores[1])
    np.testing.assert_array_equal(changed[0], tokens[2])
    first = greedy(known.module, known.params, SOURCE, LENGTH)
    np.testing.assert_array_equal(greedy(known.module, known.params, SOURCE[::-1], LENGTH), first[::-1])


@pytest.mark.parametrize("name", ["lstm", "transformer"])
def test_the_memory_of_a_source_stays_where_it_is(name):
    """Of the leaves of a state none is gathered but those that a step changes."""
    module, batch, beams = MODULES[name], np.ones((3, 17), np.int32), 5
    module = module.clone(context=17) if name == "transformer" else module
    params = drawn(module, {"source": batch, "target": batch})["params"]
    program = search_program(module, LENGTH, beams, BEGIN, END).trace(params, batch, np.float32(0)).jaxpr
    (loop,) = (each for each in program.eqns if each.primitive.name == "while")
    state = jax.eval_shape(lambda: module.apply({"params": params}, batch, method="encode"))
    memory, written = (state.memory, state.layers) if name == "lstm" else (state.memory, state.caches)
    body = equations(loop.params["body_jaxpr"].jaxpr)
    shapes = {each.invars[0].aval.shape for each in body if each.primitive.name == "gather"}

    def repeated(leaf):
        return tuple(len(batch) * beams if size == len(batch) else size for size in leaf.shape)

    assert {repeated(leaf) for leaf in jax.tree.leaves(written)} <= shapes
    assert not {repeated(leaf) for leaf in jax.tree.leaves(memory)} & shapes


def biased(logits):
    """A table in which every token has the same logits."""
    module = Table(len(logits), 40)
    return module, {"table": jnp.broadcast_to(jnp.log(jnp.array(logits)), (16, 40, len(logits), len(logits)))}


def test_a_length_penalty_favours_the_longer():
    model = biased([1e-6, 0.5, 1e-6, 0.5])  # one token, or the end, at each step
    short, scores = beam_search(*model, SOURCE, 6, 6)
    np.testing.assert_array_equal(short[0, 0], [END, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(scores[0, :5], np.log(0.5) * np.arange(1, 6), 1e-4)
    long, scores = beam_search(*model, SOURCE, 6, 6, penalty=3.0)
    assert sorted(long[0, :2].tolist()) == [[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, END]]
    np.testing.assert_allclose(scores[0, 0], np.log(0.5) * 6 / (11 / 6) ** 3, 1e-4)


def test_what_may_yet_win_by_its_length_is_searched_to_the_end():
    module, params = biased([1e-9, 1.0, 1e-9, 1e-9])
    table = params["table"].at[:, 0].set(jnp.log(jnp.array([1e-9, 0.4, 1e-9, 0.6])))
    tokens, scores = beam_search(module, {"table": table}, SOURCE, 8, 1, penalty=3.0)
    np.testing.assert_array_equal(tokens[:, 0], np.ones((3, 8)))
    np.testing.assert_allclose(scores, np.log(0.4) / (13 / 6) ** 3, 1e-4)
    tokens, _ = beam_search(module, {"table": table}, SOURCE, 8, 1)
    np.testing.assert_array_equal(tokens[:, 0, :2], [[END, 0]] * 3)


def calls(module, params, search):
    """How often a search goes on by a step."""
    count = []

    class Counted(Table):
        def extend(self, tokens, state, mask=None):
            jax.debug.callback(lambda: count.append(1))
            return super().extend(tokens, state, mask)

    jax.block_until_ready(search(Counted(module.vocabulary, module.places), params))
    jax.effects_barrier()
    return len(count)


def test_searches_stop_when_nothing_can_win():
    ends = biased([1e-6, 1e-3, 1e-3, 1.0])
    assert calls(*ends, lambda *model: greedy(*model, SOURCE, 40)) == 1
    assert calls(*ends, lambda *model: beam_search(*model, SOURCE, 40, 1)) == 1
    # The end, and each of the other two with it: then any other is a thousand times less likely.
    assert calls(*ends, lambda *model: beam_search(*model, SOURCE, 40, 3)) == 2
    goes_on = biased([1e-6, 1.0, 1.0, 1e-6])
    assert calls(*goes_on, lambda *model: greedy(*model, SOURCE, 40)) == 40
    assert calls(*goes_on, lambda *model: beam_search(*model, SOURCE, 40, 3)) == 40


def test_other_tokens_may_begin_and_end():
    module, params = biased([0.1, 0.1, 0.1, 0.6, 0.1])
    table = params["table"].at[:, :, 1].set(jnp.log(jnp.array([0.1, 0.1, 0.1, 0.1, 0.6])))
    np.testing.assert_array_equal(greedy(module, {"table": table}, SOURCE, 3, begin=1, end=3), [[4, 3, 0]] * 3)
    tokens, _ = beam_search(module, {"table": table}, SOURCE, 3, 2, begin=1, end=4)
    np.testing.assert_array_equal(tokens[:, 0], [[4, 0, 0]] * 3)


def test_padding_is_never_chosen():
    model = biased([0.9, 0.04, 0.03, 0.03])
    assert np.all(greedy(*model, SOURCE, 4) == 1)
    assert np.all(np.asarray(beam_search(*model, SOURCE, 4, 2)[0])[..., 0] != 0)


@pytest.mark.parametrize("search", [greedy, beam_search])
def test_a_search_compiles_once_for_each_shape(search):
    model = biased([0.1, 0.2, 0.3, 0.4])
    search(*model, SOURCE, 4)
    with jax.no_tracing(True):
        search(*model, SOURCE + 1, 4)


@pytest.mark.parametrize("search", [greedy, beam_search])
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"length": 0}, ValueError, "length: expected at least 1, got 0"),
        ({"length": 2.0}, TypeError, "length: expected a whole number"),
        ({"length": 7}, ValueError, "length: expected at most 6, the module's context, got 7"),
        ({"begin": 5}, ValueError, "begin: expected a token of the vocabulary, from 1 to 3, got 5"),
        ({"end": 9}, ValueError, "end: expected a token of the vocabulary, from 1 to 3, got 9"),
        ({"begin": 0}, ValueError, "begin: expected at least 1, got 0"),
        ({"end": -1}, ValueError, "end: expected at least 1, got -1"),
        ({"source": SOURCE[:, :0]}, ValueError, r"source: expected tokens .* got \(3, 0\)"),
        ({"source": SOURCE[:0]}, ValueError, r"source: expected tokens .* got \(0, 3\)"),
        ({"source": SOURCE[0]}, ValueError, r"source: expected tokens .* got \(3,\)"),
        ({"source": SOURCE / 2}, TypeError, "source: expected whole numbers, got float64"),
        ({"source": SOURCE * [[1], [0], [1]]}, ValueError, "source: 1 of 3 rows hold padding alone, the first row 1"),
        ({"module": "lstm"}, TypeError, "module: expected one with the methods encode and extend, got str"),
        ({"source": np.where(SOURCE == 1, 9, SOURCE)}, ValueError, "NaN for 1 of 3 rows, the first row 2"),
    ],
)
def test_wrong_arguments_are_named(search, changes, error, message):
    module = MODULES["transformer"]
    params = drawn(module, {"source": SOURCE, "target": SOURCE % 4})["params"]
    given = {"module": module, "params": params, "source": SOURCE, "length": 4} | changes
    with pytest.raises(error, match=message):
        search(**given)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"beams": 0}, ValueError, "beams: expected at least 1, got 0"),
        ({"beams": True}, TypeError, "beams: expected a whole number"),
        ({"penalty": -0.1}, ValueError, "penalty: expected a number of at least 0, got -0.1"),
        ({"penalty": float("nan")}, ValueError, "penalty: expected a number of at least 0, got nan"),
        ({"penalty": "long"}, TypeError, "penalty: expected a number of at least 0, got str"),
    ],
)
def test_wrong_settings_of_beams_are_named(changes, error, message):
    with pytest.raises(error, match=message):
        beam_search(*biased([0.1, 0.2, 0.3, 0.4]), SOURCE, 4, **changes)


def test_a_state_without_an_axis_of_rows_for_each_is_refused():
    class Folded(Table):
        def encode(self, source):
            return {**super().encode(source), "folded": jnp.zeros((3 * source.shape[0],))}

    module = Folded(4, 40)
    params = biased([0.1, 0.2, 0.3, 0.4])[1]
    with pytest.raises(ValueError, match=r"expected states with one axis of rows, got \(3,\) for one row"):
        beam_search(module, params, SOURCE, 3)


@pytest.mark.parametrize("search", [greedy, beam_search])
def test_a_source_may_be_lists(search):
    model = biased([0.1, 0.2, 0.3, 0.4])
    jax.tree.map(np.testing.assert_array_equal, search(*model, SOURCE.tolist(), 4), search(*model, SOURCE, 4))
    with pytest.raises(TypeError, match="source: expected whole numbers, got float64"):
        search(*model, [[1.5, 2.0]], 4)


@pytest.mark.parametrize("search", [greedy, beam_search])
def test_a_module_without_a_context_has_no_bound(search):
    class Boundless:
        """A module's methods and nothing else."""

        def __init__(self, module):
            self.apply = module.apply

        def encode(self, source):
            """As of the module."""

        def extend(self, tokens, state, mask=None):
            """Likewise."""

    module, params = biased([0.1, 0.2, 0.3, 0.4])
    found = search(Boundless(module), params, SOURCE, 4)
    jax.tree.map(np.testing.assert_array_equal, found, search(module, params, SOURCE, 4))
