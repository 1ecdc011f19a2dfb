"""A long context is read as far as it is filled, which changes nothing; the rest is tested with generation."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.parameters import drawn

from stepax import nn
from stepax.text import continuation, generation
from stepax.text.generation import generate, stream

KEY = jax.random.key(0)
MODULES = {
    "learned": nn.Decoder(11, 8, 2, 2, 10),
    "rotary, scanned": nn.Decoder(11, 8, 2, 2, 10, positions=nn.positions.rotary(), stack=nn.scanned()),
}


@pytest.fixture(params=MODULES)
def made(request):
    module = MODULES[request.param]
    return module, drawn(module, jnp.zeros((1, 2), jnp.int32))["params"]


@pytest.fixture
def in_rooms(monkeypatch):
    """Sets from how many numbers on a state is read in parts, with no program from before."""

    def set_to(large):
        monkeypatch.setattr(continuation, "LARGE", large)
        generation._whole.cache_clear()
        generation._in_chunks.cache_clear()

    yield set_to
    generation._whole.cache_clear()
    generation._in_chunks.cache_clear()


@pytest.mark.parametrize("time", [1, 7])
def test_a_context_in_rooms_makes_the_same_text(made, time, in_rooms):
    module, params = made
    prompt = np.random.default_rng(time).integers(0, 11, (3, time)).astype(np.int32)
    mask = np.arange(time) >= np.array([[0], [time // 2], [time - 1]])
    in_rooms(2**60)
    whole = generate(module, params, prompt, 27, KEY, mask=mask)
    in_rooms(1)
    np.testing.assert_array_equal(generate(module, params, prompt, 27, KEY, mask=mask), whole)
    chunks = list(stream(module, params, prompt, 27, KEY, mask=mask, chunk=4))
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), whole)


def test_rooms_are_quarters_of_a_large_state(in_rooms):
    module, numbers = MODULES["learned"], 2 * 2 * 10 * 8 + 10 + 1
    for large, rooms in {numbers + 1: (10,), numbers: (3, 5, 8, 10)}.items():
        in_rooms(large)
        assert continuation._rooms(module, 1, 10) == rooms


def test_a_module_without_rooms_has_one(in_rooms):
    class Other:
        def start(self, batch):
            raise AssertionError

    in_rooms(1)
    assert continuation._rooms(Other(), 1, 10) == (10,)
    assert "room" in inspect.signature(MODULES["learned"].start).parameters


def test_no_product_reads_more_than_the_room(in_rooms):
    """A loop for each room, whose caches have its width."""
    in_rooms(1)
    module = MODULES["learned"]
    params = jax.eval_shape(lambda: module.init(KEY, jnp.zeros((1, 2), jnp.int32)))["params"]
    plan = continuation.Plan(module, continuation.Choice(True, None, False), None)

    def text(params, prompt):
        begun = continuation.begin(plan, params, prompt, None, jnp.int32(0))
        return continuation.go_on(plan, 4, params, begun, KEY, (1.0, 1.0), jnp.int32(0), jnp.int32(4))

    traced = str(jax.make_jaxpr(text)(params, jax.ShapeDtypeStruct((3, 2), jnp.int32)))
    for room in (3, 5, 8, 10):
        assert f"f32[3,2,1,{room}]" in traced, room
