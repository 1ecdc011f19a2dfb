"""Every rival learns as stepax does: the same losses from the same weights."""

import importlib.util
from collections.abc import Iterator
from functools import cache

import jax
import numpy as np
import pytest
from bench.process import Failed, Process, environment
from bench.rivals import SPREAD, forms, linen, ours, task

from stepax.bench import WORKLOADS

STEPS = 4
# The sizes of the others are these.
NAMES = [name for name in WORKLOADS if not name.endswith("-32")]
SLOW = ("cnn-deep", "tcn", "tcn-last", "transformer")


@pytest.fixture(autouse=True)
def _stock_rules() -> Iterator[None]:
    """The rivals' own code adds vectors to matrices."""
    with jax.numpy_rank_promotion("allow"):
        yield


@cache
def small(name: str) -> task.Task:
    batch_size = 4
    return task.make(name, examples=2 * batch_size, batch_size=batch_size, lanes=2 if name == "population" else 1)


@cache
def expected(name: str, float64: bool) -> np.ndarray:
    return ours.trainer(small(name).in_float64() if float64 else small(name), "fit").losses(STEPS)


def distance(name: str, losses: np.ndarray, float64: bool) -> float:
    wanted = expected(name, float64)
    assert losses.shape == wanted.shape
    assert np.abs(np.diff(wanted, axis=0)).min() > 1e-6, "nothing is learnt"
    return np.abs(losses - wanted).max() / np.abs(wanted).max()


@pytest.mark.parametrize("name", NAMES)
def test_flax(name: str) -> None:
    # Linen's recurrent layers begin with a state in float32.
    double = name not in ("lstm", "gru")
    with jax.enable_x64(double):
        given = small(name).in_float64() if double else small(name)
        # What takes long to compile is told apart from the others by its network, not by the forms of its loop.
        for form in forms("flax", name)[: 1 if name in SLOW else None]:
            assert distance(name, linen.trainer(given, form).losses(STEPS), double) < (1e-9 if double else 1e-6)


@pytest.mark.parametrize("name", [name for name in NAMES if len(forms("stepax", name)) > 1])
def test_stepax_on_several_devices(name: str) -> None:
    with jax.enable_x64(True):
        spread = ours.trainer(small(name).in_float64(), SPREAD)
        assert distance(name, spread.losses(STEPS), True) < 1e-9
        params = jax.tree.leaves(spread._start().params)
        assert {len(leaf.sharding.device_set) for leaf in params} == {ours.devices(4)}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", NAMES)
def test_torch(name: str, torch) -> None:
    from bench.rivals import pytorch

    try:
        for form in [form for form in forms("torch", name) if "compile" not in form]:
            assert distance(name, pytorch.trainer(small(name).in_float64(), form).losses(STEPS), True) < 1e-9
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore")
def test_keras(name: str) -> None:
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras is not here: it comes with the extra `reference`")
    from bench.rivals import keras3

    # Keras adds Adam's epsilon before the correction of the averages, where it weighs thirty times as much at first.
    tolerance = 2e-2 if name == "cnn-deep" else 5e-3
    assert distance(name, keras3.trainer(small(name), "fit").losses(STEPS), False) < tolerance


@pytest.mark.parametrize("form", forms("flax", "population"))
def test_flax_checks_the_program_that_it_times(form: str) -> None:
    running = linen.trainer(small("population"), form)
    next(running.chunks())
    compiled = running.many if form.startswith("scan") else running.one
    assert compiled._cache_size() == 1
    running.losses(STEPS)
    assert (running.one._cache_size() + running.many._cache_size()) == 1


def test_flax_of_a_slow_form_tells_fewer_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linen, "LOSS_SECONDS", 0.0)
    losses = linen.trainer(small("population"), "scan").losses(STEPS)
    assert losses.shape == (linen.TRIED, 2)
    np.testing.assert_allclose(losses, expected("population", False)[: linen.TRIED], 1e-5)


@pytest.mark.parametrize("form", forms("flax", "population"))
def test_flax_counts_its_examples(form: str) -> None:
    running = linen.trainer(small("population"), form).chunks()
    lanes = 2 if form.endswith("vmap") else 1
    assert [next(running) for _ in range(3)] == [8 * lanes] * 3


def test_stepax_counts_its_examples() -> None:
    running = ours.trainer(small("population"), "fit").chunks()
    assert sum(next(running) for _ in range(4)) >= 4 * 2 * 4


def test_a_process_answers(tmp_path, torch) -> None:
    task.save(small("mlp"), tmp_path / "task.npz")
    process = Process("torch", "eager", tmp_path / "task.npz", environment(1, tmp_path))
    try:
        assert process.start()["versions"] == {"torch": torch.__version__}
        assert len(process.ask("losses", steps=3)["losses"]) == 3
        answer = process.ask("time", seconds=0.01)
        assert answer["examples"] >= 4
        assert answer["seconds"] >= 0.01
        with pytest.raises(Failed, match="KeyError: 'sing'"):
            process.ask("sing")
    finally:
        process.close()
