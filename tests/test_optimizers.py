"""Optax, with the arguments that examples/basics_optimizers.py and docs/optimizers.md name, takes PyTorch's steps."""

import pathlib
from types import ModuleType

import numpy as np
import pytest

from examples import record

optimizers = record.load("basics_optimizers")


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_a_hundred_steps_equal_those_of_torch(name: str, torch: ModuleType) -> None:
    found = optimizers.differences(name, steps=100)
    assert set(found) == {f"{name}_rosenbrock", f"{name}_logistic"}
    assert max(found.values()) < 1e-6


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("Adagrad", {"initial_accumulator_value": 0.1}),
        ("RMSprop", {"decay": 0.9}),
        ("AdamW", {"weight_decay": 1e-4}),
        ("Nesterov", {"nesterov": False}),
    ],
)
def test_the_arguments_matter(
    name: str, changed: dict[str, float], torch: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Optax's own defaults the two part: so the comparison sees a difference where there is one."""
    pair = optimizers.OPTIMIZERS[name]
    other = pair._replace(make=lambda rate: pair.make(rate, **changed))
    monkeypatch.setitem(optimizers.OPTIMIZERS, name, other)
    assert optimizers.differences(name, steps=100)[f"{name}_rosenbrock"] > 1e-6


def test_momentum_by_hand() -> None:
    """``v ← μ v + g``, ``w ← w − η v`` on ½ w², whose gradient is w."""
    with optimizers.jax.enable_x64(True):
        pair = optimizers.OPTIMIZERS["momentum"]
        points = optimizers.path(pair.make(0.1), lambda w: (w * w).sum() / 2, np.ones(1), steps=2)
    assert points[:, 0] == pytest.approx([1.0, 1.0 - 0.1, 0.9 - 0.1 * (0.9 + 0.9)])


def test_the_documented_table_names_every_optimizer() -> None:
    page = (pathlib.Path(__file__).parents[1] / "docs" / "optimizers.md").read_text(encoding="utf-8")
    for name, pair in optimizers.OPTIMIZERS.items():
        assert name in page
        assert f"torch.optim.{pair.torch}(" in page
