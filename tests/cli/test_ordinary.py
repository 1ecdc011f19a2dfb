import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax.cli.ordinary import Ordinary
from stepax.text import LSTMLanguageModel
from stepax.text.generation import generate

MODULE = LSTMLanguageModel(6, 8, 1)
PARAMS = MODULE.init(jax.random.key(0), jnp.zeros((1, 3), jnp.int32))["params"]
TOKENS = jnp.array([[2, 3, 4]])


def answers(params):
    own, _ = MODULE.apply({"params": params}, TOKENS, MODULE.start(1), method="extend")
    found, _ = Ordinary(MODULE).extend({"params": params}, TOKENS, Ordinary(MODULE).start(1))
    return np.asarray(own), np.asarray(found)


def test_only_padding_and_unknown_tokens_cannot_come():
    own, found = answers(PARAMS)
    np.testing.assert_array_equal(found[..., 2:], own[..., 2:])
    assert np.isneginf(found[..., :2]).all()


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_without_a_finite_answer_only_padding_can_come(value):
    _, found = answers(jax.tree.map(lambda leaf: leaf + value, PARAMS))
    np.testing.assert_array_equal(found[0, -1], [0, *[-np.inf] * 5])


def test_one_place_does_not_lose_the_others():
    params = {**PARAMS, "tokens": PARAMS["tokens"].at[4].set(jnp.nan)}
    own, found = answers(params)
    np.testing.assert_array_equal(found[:, :2, 2:], own[:, :2, 2:])
    assert found[0, 2].tolist() == [0, *[-np.inf] * 5]


def test_it_goes_on_as_its_module_does_without_them():
    # Padding and unknown tokens are by far the likeliest.
    bias = PARAMS["head"]["bias"].at[:2].set(50.0)
    params = {**PARAMS, "head": {**PARAMS["head"], "bias": bias}}
    assert set(np.asarray(generate(MODULE, params, TOKENS, 8, jax.random.key(1)))[0].tolist()) <= {0, 1}
    found = generate(Ordinary(MODULE), params, TOKENS, 8, jax.random.key(1))
    assert set(np.asarray(found)[0].tolist()) <= {2, 3, 4, 5}
    assert Ordinary(MODULE).context is None
