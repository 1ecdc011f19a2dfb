"""What is measured of a toy: that it is there, finite and of the right units. No test depends on how fast it is."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stepax import nn
from stepax.bench import Workload, matmul_peak, measure
from stepax.bench.measure import CACHING
from stepax.typing import Batch


def toy_data(examples: int, seed: int) -> Batch:
    x = np.random.default_rng(seed).normal(size=(examples, 5)).astype(np.float32)
    return {"x": x, "y": x[:, :3].argmax(-1).astype(np.int32)}


TOY = Workload("toy", "MLP 5-4-3", partial(nn.MLP, (4, 3)), toy_data, 6)


@pytest.mark.parametrize(("models", "batch_size"), [(1, None), (2, 3)])
def test_every_number_of_a_timing(models: int, batch_size: int | None) -> None:
    timing = measure(TOY._replace(lanes=models), repetitions=3, seconds=0.001, batch_size=batch_size)
    assert timing.name == "toy"
    assert len(timing.rates) == 3
    assert all(math.isfinite(value) and value > 0 for value in (*timing.rates, *timing[2:]))
    examples = models * (batch_size or 6)
    rate = np.median(timing.rates)
    np.testing.assert_allclose(timing.step, examples / rate)
    # Three products for every layer, but no gradient by the data.
    np.testing.assert_allclose(timing.flops, rate * 2 * (2 * 5 * 4 + 3 * 4 * 3))
    # At least the data and the parameters of every model.
    assert timing.memory >= 4 * models * (5 * 4 + 4 + 4 * 3 + 3)


def test_the_state_lies_in_memory_once() -> None:
    """Parameters, Adam's two averages and the gradients: 4 times; the state that is given away is no second one."""
    wide = TOY._replace(model=partial(nn.MLP, (20000, 3)))
    memory = measure(wide, repetitions=1, seconds=0.001).memory
    parameters = 4 * (5 * 20000 + 20000 + 20000 * 3 + 3)
    data = 4 * 6 * 64 * (5 + 1)
    activations = 4 * 6 * 20000
    assert 3 * parameters < memory < 4 * parameters + 3 * activations + 2 * data


def test_other_precisions_are_the_same_work() -> None:
    whole, half = (measure(TOY, repetitions=1, seconds=0.001, compute=dtype) for dtype in (jnp.float32, jnp.bfloat16))
    np.testing.assert_allclose(whole.flops * whole.step, half.flops * half.step)


def test_the_compilation_cache_is_as_before() -> None:
    before = {name: getattr(jax.config, name) for name in CACHING}
    measure(TOY, repetitions=1, seconds=0.001)
    assert {name: getattr(jax.config, name) for name in CACHING} == before


@pytest.mark.parametrize("dtype", ["float32", jnp.bfloat16])
def test_the_peak_is_a_number_of_operations_a_second(dtype: object) -> None:
    peak = matmul_peak(dtype, size=32, repetitions=2)
    assert math.isfinite(peak)
    assert peak > 0
