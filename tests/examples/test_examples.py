"""Every example runs, in seconds, and what is mathematics in it holds; long trainings are recorded instead."""

import pathlib
from typing import Any

import pytest

import stepax as sx
from examples import record

TINY: dict[str, dict[str, Any]] = {
    "basics_backpropagation": {"nets": 20},
    "basics_learning_rate": {},
    "basics_losses": {},
    "basics_optimizers": {"steps": 3, "shown": 3},
    "basics_perceptron": {"seeds": 10, "epochs": 100, "steps": 300},
    "rl_control": {"tasks": ("cartpole_reinforce",), "seeds": 2, "share": 0.01, "tried": 1},
    "rl_demonstrations": {
        "seeds": 2,
        "depth": 3,
        "car_steps": 4,
        "car_pretraining": 2,
        "car_chunk": 2,
        "sea_steps": 4,
        "sea_pretraining": 2,
        "sea_chunk": 2,
    },
    "rl_parts": {"tasks": ("car",), "agents": ("none",), "seeds": 2, "share": 0.002},
    "rl_tabular": {"seeds": 2, "lake_steps": 1, "cliff_steps": 1, "taxi_steps": 1, "length": 20},
    "sequences_adding": {
        "time": 6,
        "long": 7,
        "seeds": 1,
        "long_seeds": 1,
        "epochs": 1,
        "long_epochs": 1,
        "recurrent_epochs": 1,
        "examples": 8,
        "batch_size": 4,
    },
    "sequences_chorales": {"seeds": 1, "epochs": 1, "pieces": 2, "batch_size": 2},
    "sequences_copying": {"blanks": 3, "epochs": 2, "examples": 8, "batch_size": 4},
    "sequences_mnist": {"seeds": 1, "epochs": 1, "width": 4, "pixel_epochs": 1, "levels": 2, "limit": 256},
    "tables_baselines": {"splits": 2, "steps": 2, "epochs": 2},
    "text_addition": {"seeds": 1, "epochs": 1, "transformer_epochs": 1, "batch_size": 8, "examples": 16, "held_out": 8},
    "text_sentences": {"names": ("trec", "cr"), "folds": 2, "epochs": 1, "limit": 60},
    "vision_fashion": {"cnn_seeds": 1, "mlp_seeds": 1, "cnn_epochs": 1, "mlp_epochs": 1, "limit": 256},
    "vision_mnist": {"seeds": 1, "epochs": 1, "limit": 256},
    "vision_nielsen": {"hidden": (4,), "seeds": 2, "epochs": 2, "examples": 200},
    "vision_overfitting": {"seeds": 1, "epochs": 2, "examples": 100, "hidden": (8,)},
    "vision_transfer": {"seeds": 1, "epochs": 1, "second_epochs": 1, "width": 2, "examples": 300},
}
READ = {"sequences_chorales", "sequences_mnist", "text_sentences"}
IMAGES = {name for name in TINY if name.startswith("vision")} | READ


def numbers(name: str, folder: pathlib.Path) -> dict[str, Any]:
    module = record.load(name)
    figure = folder / f"{name}.png"
    draws = "figure" in module.main.__annotations__
    found = module.main(**TINY[name], **({"figure": figure} if draws else {}))
    assert not draws or figure.stat().st_size > 0
    return found


def test_every_example_has_a_test() -> None:
    tested = {path.stem.removeprefix("test_") for path in pathlib.Path(__file__).parent.glob("test_*.py")}
    assert set(record.examples()) <= set(TINY) | tested


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_images(name: str, data_dir: pathlib.Path, tmp_path: pathlib.Path) -> None:
    assert_recordable(name, numbers(name, tmp_path))


@pytest.mark.parametrize(
    "name",
    [
        "basics_optimizers",
        "rl_control",
        "rl_demonstrations",
        "rl_parts",
        "rl_tabular",
        "sequences_adding",
        "sequences_copying",
        "tables_baselines",
        "text_addition",
    ],
)
def test_runs(name: str, tmp_path: pathlib.Path) -> None:
    assert_recordable(name, numbers(name, tmp_path))


def assert_recordable(name: str, found: dict[str, Any]) -> None:
    """Numbers have the form that the recorder writes down, and every claim is about one of them."""
    for value in found.values():
        assert all(isinstance(number, bool | int | float) for number in (value if isinstance(value, list) else [value]))
    module = record.load(name)
    known = set(found)
    if name == "vision_nielsen":
        known |= {"accuracy_4_all_digits"}  # in two epochs no seed learns all
        known = {number.replace("_4_", f"_{width}_") for number in known for width in (30, 100)}
    if name == "basics_optimizers":  # PyTorch may not be here
        known |= {f"{optimizer}_{problem}" for optimizer in module.OPTIMIZERS for problem in ("rosenbrock", "logistic")}
    if name == "rl_control":  # what is trained in other tasks is made below
        known |= {*module.TASKS, "cartpole_ppo_solved"}
    if name == "text_sentences":
        known |= {"rt_polarity", "subj"}  # cross-validated as `cr` is
    if name == "rl_parts":
        known |= {f"{task}_{agent}" for task in module.TASKS for agent in module.AGENTS}
    assert {claim["number"] for claim in module.CLAIMS} <= known


@pytest.mark.parametrize(
    "name", ["basics_backpropagation", "basics_learning_rate", "basics_losses", "basics_perceptron"]
)
def test_mathematics_holds(name: str, tmp_path: pathlib.Path) -> None:
    found = numbers(name, tmp_path)
    assert_recordable(name, found)
    rows = [record.row({"numbers": found}, claim) for claim in record.load(name).CLAIMS]
    assert [row for row in rows if row[-1] not in ("yes", "–")] == []
    assert any(row[-1] == "yes" for row in rows)


def test_novikoff_bounds_are_those_of_the_known_separators() -> None:
    """AND is separated best by 2a + 2b − 3, OR by 2a + 2b − 1; R² = 3."""
    perceptron = record.load("basics_perceptron")
    bounds = {gate: perceptron.novikoff_bound(perceptron.sx.data.load(gate).train) for gate in ("and", "or")}
    assert bounds == pytest.approx({"and": 3 * 17, "or": 3 * 9})
    with pytest.raises(ValueError, match="cannot be separated"):
        perceptron.novikoff_bound(perceptron.sx.data.load("xor").train)


def test_the_inseparable_labellings_are_xor_and_its_opposite() -> None:
    perceptron = record.load("basics_perceptron")
    every = {tuple(map(int, f"{number:04b}")) for number in range(16)}
    points = perceptron.sx.data.load("xor").train["x"]
    assert every - set(perceptron.separable_labellings(points)) == {(0, 1, 1, 0), (1, 0, 0, 1)}


@pytest.mark.parametrize("slip", ["output", "hidden"])
def test_a_wrong_chain_rule_would_be_seen(slip: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = record.load("basics_backpropagation")
    right = module.backward

    def wrong(*arguments: Any) -> Any:
        gradient = right(*arguments)
        gradient[slip][0][1] *= 1 + 1e-9
        return gradient

    monkeypatch.setattr(module, "backward", wrong)
    with module.jax.enable_x64(True):
        assert module.largest_difference(nets=3) > 1e-12


def test_every_agent_of_an_example_is_made_with_settings_that_fit() -> None:
    """Those that the tiny runs leave out."""
    control, parts = record.load("rl_control"), record.load("rl_parts")
    made = [task.make(2) for task in control.TASKS.values()]
    made += [parts.agent(parts.TASKS["car"], of, 2) for of in parts.AGENTS.values()]
    assert all(isinstance(learner, sx.Learner) for learner in made)
