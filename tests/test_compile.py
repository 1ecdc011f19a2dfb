"""Options, the cache, and programs that compile once."""

import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stepax as sx
from stepax import compile as compiling
from stepax.compile import Concurrent, Program, cache_folder, compile_seconds, cores, jit


@pytest.fixture
def candidates(monkeypatch):
    """Sets the options to be tried, on a clean slate before and after."""
    compiling.options.cache_clear()
    yield lambda chosen: monkeypatch.setattr(compiling, "CANDIDATES", {"cpu": chosen})
    compiling.options.cache_clear()


def test_options_that_the_compiler_refuses_are_dropped(candidates):
    candidates(
        {"xla_no_such_option": 1, "xla_cpu_enable_fast_min_max": False, "xla_cpu_experimental_ynn_fusion_type": "?"}
    )
    assert compiling.options("cpu") == {"xla_cpu_enable_fast_min_max": False}
    assert float(jit(lambda x: x + 1)(1.0)) == 2


def test_options_are_probed_once(candidates, monkeypatch):
    candidates({"xla_cpu_enable_fast_min_max": False})
    first = compiling.options("cpu")
    monkeypatch.setattr(jax, "jit", None)
    assert compiling.options("cpu") is first


def test_the_options_in_use_are_accepted_today():
    """A probe that fails for another reason than the option would drop all of them in silence."""
    assert compiling.options("cpu") == compiling.CANDIDATES["cpu"]


def test_a_backend_without_candidates_has_no_options():
    assert compiling.options("tpu") == {}


def test_jit_compiles_anew_for_new_shapes_and_donates():
    double = jit(lambda x: 2 * x, donate=(0,))
    first = jnp.ones(3)
    np.testing.assert_array_equal(double(first), [2, 2, 2])
    assert first.is_deleted()
    assert double(jnp.ones((2, 2))).shape == (2, 2)


@pytest.fixture(scope="module")
def program():
    made = Program(lambda state, x: ({"a": {"w": state["a"]["w"] + x.sum()}}, x.mean()))
    made({"a": {"w": jnp.zeros(4)}}, jnp.ones((2, 3)))
    return made


@pytest.mark.parametrize(
    ("w", "x", "message"),
    [
        (jnp.zeros(4), jnp.ones((5, 3)), r"argument \[1\]: was float32\[2,3\], is float32\[5,3\]$"),
        (jnp.zeros(3), jnp.ones((2, 3)), r"argument \[0\]\['a'\]\['w'\]: was float32\[4\], is float32\[3\]$"),
        (jnp.zeros(4), jnp.ones((2, 3), int), r"argument \[1\]: was float32\[2,3\], is int32\[2,3\]$"),
    ],
)
def test_other_shapes_are_an_error_that_names_the_argument(program, w, x, message):
    with pytest.raises(ValueError, match=message):
        program({"a": {"w": w}}, x)


def test_another_structure_is_an_error_that_names_the_leaf(program):
    with pytest.raises(ValueError, match=r"argument \[0\]\['a'\]\['b'\]: was absent, is float32\[1\]"):
        program({"a": {"w": jnp.zeros(4), "b": jnp.zeros(1)}}, jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=r"argument \[0\]\['a'\]\['w'\]: was float32\[4\], is absent"):
        program({"a": {}}, jnp.ones((2, 3)))


def test_a_program_still_works_after_an_error(program):
    assert float(program({"a": {"w": jnp.zeros(4)}}, jnp.full((2, 3), 2.0))[1]) == 2


def test_memory_is_estimated_once_compiled(program):
    assert program.memory() >= 4 * (4 + 6 + 4 + 1)
    assert Program(lambda x: x).memory() is None


def test_a_program_compiles_for_shapes_and_counts_the_time():
    def slow(x):
        time.sleep(0.05)
        return x + 1

    x = jnp.ones(2)
    made, before = Program(slow, donate=(0,)), compile_seconds()
    made.compile(jax.ShapeDtypeStruct((2,), jnp.float32))
    spent = compile_seconds() - before
    assert spent >= 0.05
    after = made(x)
    assert compile_seconds() - before == spent
    np.testing.assert_array_equal(after, [2, 2])
    assert x.is_deleted()


def test_the_callers_state_outlives_donation():
    def step(state, batch):
        return state._replace(params=state.params + 1, step=state.step + 1), {"loss": jnp.float32(0)}

    learner = sx.Learner(None, step, None, None)
    state = sx.new_state(jax.random.key(0), jnp.zeros(3), {}, ())
    turns = sx.epochs(learner, sx.generated(2), state)
    borrowed, _ = next(turns)
    next(turns)
    assert borrowed.params.is_deleted()
    np.testing.assert_array_equal(state.params, 0)
    assert float(jax.random.uniform(state.key)) >= 0


def test_compiled_programs_are_kept_beside_the_downloads(monkeypatch):
    monkeypatch.setenv("STEPAX_CACHE", "~/a")
    assert cache_folder() == sx.data.cache_dir() / "compiled" == pathlib.Path.home() / "a" / "compiled"


@pytest.fixture
def fresh_settings(monkeypatch):
    """JAX's settings of the cache as they are when it starts; nothing is compiled with them."""
    names = ("jax_compilation_cache_dir", "jax_enable_compilation_cache")
    names += ("jax_persistent_cache_min_compile_time_secs", "jax_persistent_cache_min_entry_size_bytes")
    kept = {name: getattr(jax.config, name) for name in names}
    for name, value in zip(names, (None, True, 1.0, 0), strict=True):
        jax.config.update(name, value)
    compiling._enable_cache.cache_clear()
    monkeypatch.setenv("STEPAX_CACHE", "/ours")
    yield lambda: tuple(getattr(jax.config, name) for name in names)
    for name, value in kept.items():
        jax.config.update(name, value)
    compiling._enable_cache.cache_clear()


def test_the_cache_is_on_for_small_programs(fresh_settings):
    jit(lambda x: x)
    assert fresh_settings() == ("/ours/compiled", True, 0, -1)


@pytest.mark.parametrize(
    ("name", "value"), [("jax_compilation_cache_dir", "/theirs"), ("jax_enable_compilation_cache", False)]
)
def test_the_cache_stays_as_the_user_set_it(fresh_settings, name, value):
    jax.config.update(name, value)
    theirs = fresh_settings()
    jit(lambda x: x)
    assert fresh_settings() == theirs


def test_concurrent_calls_are_those_in_turn():
    together = Concurrent(lambda state, x: {"w": state["w"] + x}, donate=(0,))
    calls = [({"w": jnp.full(3, float(i))}, jnp.float32(10 * i)) for i in range(3)]
    for i, found in enumerate(together(calls)):
        np.testing.assert_array_equal(found["w"], np.full(3, 11.0 * i))
    assert all(state["w"].is_deleted() for state, _ in calls)
    alone = together([({"w": jnp.ones(2)}, jnp.float32(1))])
    np.testing.assert_array_equal(alone[0]["w"], [2, 2])


def test_concurrent_calls_compile_once_for_a_shape():
    traced = []
    together = Concurrent(lambda x: traced.append(x.shape) or 2 * x)
    for shape in ((3,), (3,), (4,), (3,)):
        found = together([(jnp.ones(shape),), (jnp.zeros(shape),)])
        np.testing.assert_array_equal(found, [np.full(shape, 2), np.zeros(shape)])
    assert traced == [(3,), (4,)]


def test_concurrent_calls_take_the_precision_of_the_caller():
    together = Concurrent(lambda x: x + jnp.ones(2))
    with jax.enable_x64(True):
        assert {found.dtype for found in together([(jnp.zeros(2),), (jnp.ones(2),)])} == {np.dtype("float64")}
    assert {found.dtype for found in together([(jnp.zeros(2),), (jnp.ones(2),)])} == {np.dtype("float32")}


def test_concurrent_calls_take_what_numpy_holds_as_the_caller_does():
    together = Concurrent(lambda x: 2 * x)
    with jax.enable_x64(True):
        assert {found.dtype for found in together([(np.ones(2),), (np.ones(2),)])} == {np.dtype("float64")}


def test_concurrent_calls_run_where_their_arrays_are():
    together = Concurrent(lambda x: 2 * x)
    for device in jax.devices()[:2]:
        found = together([(jax.device_put(np.ones(2), device),), (jax.device_put(np.zeros(2), device),)])
        assert {array.device for array in found} == {device}


def test_concurrent_calls_over_several_devices_or_traced_run_in_turn(monkeypatch):
    together = Concurrent(lambda x: 2 * x)
    monkeypatch.setattr(compiling, "ThreadPoolExecutor", None)
    spread = jax.device_put(np.arange(8.0), jax.NamedSharding(sx.mesh(data=8), jax.P("data")))
    np.testing.assert_array_equal(together([(spread,), (spread + 1,)])[1], 2 * np.arange(1, 9))
    found = jax.vmap(lambda x: together([(x,), (x + 1,)])[1])(jnp.arange(3.0))
    np.testing.assert_array_equal(found, [2, 4, 6])


def test_an_error_of_a_concurrent_call_is_told():
    def refused(x):
        raise ValueError("no")

    with pytest.raises(jax.errors.JaxRuntimeError, match="ValueError: no"):
        Concurrent(lambda x: jax.pure_callback(refused, x, x))([(jnp.ones(2),), (jnp.ones(2),)])


@pytest.mark.parametrize(("given", "expected"), [("3", 3), ("1", 1)])
def test_cores_are_those_that_xla_uses(given, expected, monkeypatch):
    monkeypatch.setenv("NPROC", given)
    assert cores() == expected
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert cores() == 1


@pytest.mark.parametrize("given", ["", "0", "many"])
def test_cores_are_those_of_the_process_where_nothing_is_said(given, monkeypatch):
    monkeypatch.setenv("NPROC", given)
    monkeypatch.setattr(compiling.os, "sched_getaffinity", lambda who: {0, 1, 5}, raising=False)
    assert cores() == 3
