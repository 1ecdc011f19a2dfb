"""The contract battery: what every learner promises, checked for each of ``tests/cases.py`` at toy size."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.cases import CASES, Case

import stepax as sx
from stepax.record import parameter_hash

# Only what models differ in is tested of all of them.
OF_ALL = pytest.mark.parametrize("case", CASES, indirect=True, scope="module")


@pytest.fixture(params=[name for name, case in CASES.items() if case.whole], scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def source(case: Case) -> sx.Source:
    if isinstance(case.data, sx.Source):
        return case.data
    return sx.shuffled(case.data, case.batch_size, jax.random.key(5))


def batch(case: Case, i: int = 0) -> dict:
    own = source(case)
    return own.take(own.order(0), i)


def start(case: Case, learner: sx.Learner, seed: int = 0) -> sx.State:
    return jax.jit(learner.init)(jax.random.key(seed), batch(case))


def same_bits(first, second) -> None:
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(first)[0], jax.tree.leaves(second), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


def close(first, second, tolerance: float) -> None:
    for (path, a), b in zip(jax.tree_util.tree_flatten_with_path(first)[0], jax.tree.leaves(second), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(a, b, tolerance, tolerance, err_msg=jax.tree_util.keystr(path))


def double(tree):
    """The same numbers in float64."""
    return jax.tree.map(lambda a: a.astype(jnp.float64) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


def after(case: Case, learner: sx.Learner, state: sx.State, steps: int, chunk: int | None = None) -> sx.State:
    """The state when ``steps`` steps have been made in all."""
    for now, _ in sx.epochs(learner, source(case), state, chunk=chunk):
        if now.step >= steps:
            assert now.step == steps
            return jax.tree.map(jnp.copy, now)
    raise AssertionError("epochs ended")


def test_init_can_be_traced_and_makes_a_state(case: Case) -> None:
    learner = case.make()
    traced = jax.eval_shape(learner.init, jax.random.key(0), batch(case))
    made = start(case, learner)
    assert isinstance(made, sx.State)
    assert traced == jax.eval_shape(lambda s: s, made)
    assert made.step == 0
    assert made.step.dtype == jnp.int32


@OF_ALL
def test_step_keeps_structure_shapes_dtypes_and_key_and_counts(case: Case) -> None:
    learner = case.make()
    state = start(case, learner)
    moved, metrics = jax.jit(learner.step)(state, batch(case))
    assert jax.eval_shape(lambda s: s, moved) == jax.eval_shape(lambda s: s, state)
    assert moved.step == 1
    same_bits(moved.key, state.key)
    assert {"loss", "weight"} <= set(metrics)
    assert all(jnp.shape(value) == case.lanes for value in metrics.values())


def test_jit_equals_no_jit(case: Case, x64: None) -> None:
    learner = case.make()
    state, data = double(start(case, learner)), double(batch(case))
    # Where a gradient is 0 up to rounding, Adam divides one rounding error by another.
    close(jax.jit(learner.step)(state, data), learner.step(state, data), case.rounding)


def test_compiles_once_whatever_the_chunks(case: Case) -> None:
    learner, traces = case.make(), []

    def step(state, batch, gradient=sx.gradient):
        traces.append(1)
        return learner.step(state, batch, gradient)

    own = source(case)
    turns = sx.epochs(learner._replace(step=step), own, start(case, learner), chunk=2)
    next(turns)
    first = len(traces)
    for _ in itertools.islice(turns, 2 * own.length):
        pass
    assert len(traces) == first


@OF_ALL
def test_lanes_of_vmap_equal_single_runs(case: Case, x64: None) -> None:
    learner = case.make()
    data = double(batch(case))
    states = [double(start(case, learner, seed)) for seed in (0, 1)]
    lanes = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    together = jax.jit(jax.vmap(learner.step, (0, None)))(lanes, data)
    for lane, state in enumerate(states):
        close(
            jax.tree.map(lambda leaf, lane=lane: leaf[lane], together),
            jax.jit(learner.step)(state, data),
            case.rounding,
        )


def test_works_inside_scan_and_cond(case: Case) -> None:
    learner = case.make()
    data = batch(case)

    @jax.jit
    def run(state: sx.State) -> sx.State:
        def body(state: sx.State, _: None) -> tuple[sx.State, None]:
            return jax.lax.cond(state.step < 2, lambda s: learner.step(s, data)[0], lambda s: s, state), None

        return jax.lax.scan(body, state, None, length=3)[0]

    assert run(start(case, learner)).step == 2


def test_the_same_key_gives_the_same_bits_and_another_key_others(case: Case) -> None:
    learner = case.make()
    steps = 2 * source(case).length
    first, again = (after(case, learner, start(case, learner), steps) for _ in range(2))
    same_bits(first, again)
    if case.by_gradient:
        assert parameter_hash(first.params) != parameter_hash(
            after(case, learner, start(case, learner, 1), steps).params
        )


def test_chunks_change_no_bit(case: Case) -> None:
    learner = case.make()
    steps = 2 * source(case).length
    whole = after(case, learner, start(case, learner), steps)
    for chunk in (1, 2, 3):
        same_bits(after(case, learner, start(case, learner), steps, chunk), whole)


def test_a_resumed_run_equals_an_uninterrupted_one_through_a_checkpoint(case: Case, tmp_path) -> None:
    learner = case.make()
    whole = after(case, learner, start(case, learner), 2 * source(case).length)
    half = after(case, learner, start(case, learner), 1, chunk=1)
    sx.checkpoint.save(tmp_path / "half", half)
    restored = sx.checkpoint.load(tmp_path / "half", jax.eval_shape(lambda s: s, half))
    same_bits(restored, half)
    same_bits(after(case, learner, restored, 2 * source(case).length), whole)


def test_evaluation_is_exact_for_any_batch_size(case: Case) -> None:
    learner = case.make()
    state = start(case, learner)
    whole, parts = (sx.evaluate(learner, state, case.data, batch_size=size) for size in (len(case.data["y"]), 3))
    assert whole.keys() == parts.keys()
    for name in whole:
        assert parts[name] == pytest.approx(whole[name], rel=1e-5, abs=1e-6), name


@OF_ALL
def test_predict_gives_one_row_per_input_and_changes_nothing(case: Case) -> None:
    learner = case.make()
    state = start(case, learner)
    output = sx.predict(learner, state, case.data["x"], batch_size=4)
    assert len(output) == len(case.data["y"])
    np.testing.assert_allclose(output, jax.jit(learner.predict)(state, case.data["x"]), 1e-5, 1e-6)


def test_every_gradient_goes_through_the_argument(case: Case) -> None:
    if not case.by_gradient:
        pytest.skip("this rule takes no gradient")
    learner = case.make()
    state, seen = start(case, learner), []

    def gradient(objective, params, variables, batch, key):
        grads, variables, metrics = sx.gradient(objective, params, variables, batch, key)
        seen.append(jax.tree.structure(grads))
        return jax.tree.map(jnp.zeros_like, grads), variables, metrics

    moved, _ = jax.jit(lambda state, data: learner.step(state, data, gradient=gradient))(state, batch(case))
    assert seen
    # Adam's first update is 0 for a gradient of 0.
    same_bits(moved.params, state.params)


def test_weight_zero_equals_removal_in_evaluation(case: Case) -> None:
    learner = case.make()
    state = start(case, learner)
    rows = np.arange(len(case.data["y"]))
    kept = rows % 2 == 0
    own = np.asarray(case.data.get("weight", np.ones(len(rows), np.float32)))
    weighted = {**case.data, "weight": np.where(kept.reshape((-1,) + (1,) * (own.ndim - 1)), own, 0)}
    removed = {
        **jax.tree.map(lambda leaf: leaf[kept], {k: v for k, v in case.data.items() if k != "weight"}),
        "weight": own[kept],
    }
    found, expected = sx.evaluate(learner, state, weighted), sx.evaluate(learner, state, removed)
    assert found.keys() == expected.keys()
    for name in found:
        np.testing.assert_allclose(found[name], expected[name], 1e-5, err_msg=name)


@OF_ALL
def test_lowers_for_every_platform(case: Case) -> None:
    learner = case.make()
    state = jax.eval_shape(learner.init, jax.random.key(0), batch(case))
    exported = jax.export.export(jax.jit(learner.step), platforms=("cpu", "cuda", "tpu"))(state, batch(case))
    assert exported.platforms == ("cpu", "cuda", "tpu")


@OF_ALL
def test_solves_its_toy(case: Case) -> None:
    learner = case.make()
    run = sx.fit(
        learner, case.data, key=jax.random.key(0), epochs=case.epochs, batch_size=case.batch_size, progress=False
    )
    assert case.solved(sx.evaluate(learner, run.state, case.data)), sx.evaluate(learner, run.state, case.data)
