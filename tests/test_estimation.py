"""Memory before anything is compiled, held against what the compiler says."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import stepax as sx
from stepax import estimation
from stepax.compile import Program
from stepax.data import stream
from stepax.estimation import Estimate, estimate, free_memory
from stepax.loop import chunk_program

KEY = jax.random.key(0)


def rows(n: int = 96) -> dict[str, np.ndarray]:
    return {"x": np.zeros((n, 12, 12, 1), np.float32), "y": np.zeros(n, np.int32)}


def learner(optimizer=None) -> sx.Learner:
    model = sx.nn.CNN((8, 16), dense=(32,), classes=3, normalize=True)
    return sx.supervised(model, sx.losses.cross_entropy, optimizer or optax.adam(1e-3))


def test_what_is_held_is_exact():
    found, sgd = estimate(learner(), rows(), 32), estimate(learner(optax.sgd(0.1)), rows(), 32)
    described = sx.describe(sx.nn.CNN((8, 16), dense=(32,), classes=3, normalize=True), rows()["x"][:32])
    assert found.parameters == 4 * described.parameters
    assert found.variables == 4 * described.variables
    assert (found.optimizer, sgd.optimizer) == (2 * found.parameters + 4, 0)
    assert found.data == sum(array.nbytes for array in rows().values())
    assert found.total == sum(found[:5])
    assert found.batch_size == 32


@pytest.mark.parametrize("size", [16, 96])
def test_it_is_near_to_what_the_compiler_says(size):
    source = sx.shuffled(rows(), size, KEY)
    program = Program(chunk_program(learner(), source.take, source.length), donate=(0,))
    state = jax.eval_shape(learner().init, KEY, rows(size))
    program.compile(state, source.order(0), jnp.int32(0), jnp.int32(1))
    assert estimate(learner(), rows(), size).total == pytest.approx(program.memory(), rel=0.5)


def test_activations_grow_with_the_batch_and_accumulation_brings_them_back():
    small, large = (estimate(learner(), rows(), size) for size in (16, 64))
    parts = estimate(sx.accumulate(learner(), 4), rows(), 64)
    assert large.working > 3 * small.working
    assert parts.working < 0.6 * large.working
    assert large.flops == 4 * small.flops == pytest.approx(parts.flops, rel=1e-6)


def test_intermediate_results_by_hand():
    def run(x):
        a = jnp.sin(x)  # 400 bytes, needed to the end
        b = jnp.outer(a, a)  # 40,000 bytes
        return b.sum() + a.sum()

    jaxpr = jax.make_jaxpr(run)(jax.ShapeDtypeStruct((100,), jnp.float32)).jaxpr
    found = estimation._peak(jaxpr, set(jaxpr.outvars))
    assert 40_400 <= found <= 80_400  # the product may be reshaped once
    scanned = jax.make_jaxpr(lambda x: jax.lax.scan(lambda c, _: (run(x) + c, None), 0.0, None, length=9)[0])
    inside = scanned(jax.ShapeDtypeStruct((100,), jnp.float32)).jaxpr
    assert found <= estimation._peak(inside, set(inside.outvars)) <= found + 100


def test_sources_and_streams():
    data = rows()
    source = estimate(learner(), sx.shuffled(data, 32, KEY), None)
    direct = estimate(learner(), data, 32)
    assert source[:3] == direct[:3]
    assert source.data == direct.data + 4 * 96  # the order of the rows
    read = estimate(learner(), stream(data, 32, KEY), None)
    assert (read.batch_size, read.working) == (32, direct.working)
    assert estimate(learner(), data, None).batch_size == 96


NEEDED = Estimate(1000, 2000, 0, 500, 6400, 9900, 10_000, 0, 64)


def test_what_fits_needs_no_advice():
    assert not NEEDED._replace(free=10_999).fits
    assert NEEDED._replace(free=11_001).fits
    assert NEEDED._replace(free=None).fits
    assert NEEDED._replace(free=11_001).advice == []
    text = str(NEEDED)
    assert text == "about 9.90 kB (parameters 1.00 kB, optimizer 2.00 kB, data 500 B, working 6.40 kB); 10.0 kB free"


def test_advice_is_what_would_fit():
    tips = NEEDED._replace(free=6000).advice  # 5400 may be used, and 3500 are fixed
    assert tips[0] == "a batch size of 19"
    assert tips[1].startswith("stepax.accumulate(learner, 4)")
    assert tips[-1] == "a smaller model"
    assert NEEDED._replace(free=3000).advice == ["a smaller model"]
    large = NEEDED._replace(data=10**6, total=10**6 + 9400, free=10**6)
    assert any("stepax.data.stream" in tip for tip in large.advice)


def test_free_memory_is_that_of_the_machine_here():
    assert 2**20 < free_memory() < 2**50


def test_of_a_device_what_its_allocator_says(monkeypatch):
    class Device:
        platform = "gpu"

        def memory_stats(self):
            return {"bytes_limit": 100, "bytes_in_use": 30}

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert free_memory() == 70
    assert any("stepax.precise" in tip for tip in NEEDED._replace(free=6000).advice)
    monkeypatch.setattr(Device, "memory_stats", lambda self: None)
    assert free_memory() is None


def test_what_cannot_be_estimated_is_refused():
    with pytest.raises(TypeError, match=r"learner: expected a stepax\.Learner"):
        estimate(sx.nn.MLP((3,)), rows(), 32)
    with pytest.raises(TypeError, match="data: expected a dict of arrays"):
        estimate(learner(), rows()["x"], 32)
    with pytest.raises(ValueError, match="batch_size: expected at least 1, got 0"):
        estimate(learner(), rows(), 0)


def test_the_new_state_takes_the_place_of_the_old_one():
    jaxpr = jax.make_jaxpr(lambda x: (2 * x, x.sum()))(jax.ShapeDtypeStruct((100,), jnp.float32)).jaxpr
    assert estimation._peak(jaxpr, set()) == 400 + 4
    assert estimation._peak(jaxpr, {jaxpr.outvars[0]}) == 4


def test_a_number_that_an_inner_program_gives_needs_no_memory():
    inner = jax.make_jaxpr(lambda x: jax.lax.cond(x[0] > 0, lambda: (x + 1, 2.0), lambda: (x, 3.0)))
    jaxpr = inner(jax.ShapeDtypeStruct((100,), jnp.float32)).jaxpr
    assert 400 + 4 <= estimation._peak(jaxpr, set()) < 2 * 400
