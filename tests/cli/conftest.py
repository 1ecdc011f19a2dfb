"""Runs that the tests of the command line share, and two ways to call it: as a process, and in this one."""

import pathlib
from collections.abc import Callable

import numpy as np
import pytest
from tests.cli.processes import Done, process

from stepax.cli import main


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    """The command line in this process, in an empty folder: fast."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STEPAX_TRACEBACK", raising=False)

    def run(*arguments: object) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main([str(argument) for argument in arguments])
        return Done(int(leaving.value.code or 0), *capsys.readouterr())

    return run


def trained(folder: pathlib.Path, *arguments: object, status: int = 0) -> pathlib.Path:
    """A run made in this process, without figures and TensorBoard."""
    with pytest.raises(SystemExit) as leaving:
        main([str(argument) for argument in ("train", "--out", folder, "--no-figures", "--log", *arguments)])
    assert leaving.value.code == status
    return folder


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A small CNN on digits, made by a process, with all that it leaves."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    small = ("--features", 4, "--dense", 8, "--epochs", 2, "--patience", 2)
    done = process("train", *small, "--out", folder, "--log", "tensorboard", cwd=folder.parent)
    assert done.status == 0, done.err
    folder.with_name("out").write_text(done.out, encoding="utf-8")
    folder.with_name("err").write_text(done.err, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def iris_run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An MLP on a table with three classes."""
    return trained(tmp_path_factory.mktemp("iris") / "run", "--data", "iris", "--dense", 8, "--epochs", 30)


@pytest.fixture(scope="session")
def diverged_run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An MLP on a table with three classes, whose steps were so large that no number of it is left."""
    options = ("--data", "iris", "--dense", 8, "--optimizer", "sgd", "--learning-rate", 1e9, "--epochs", 2)
    return trained(tmp_path_factory.mktemp("diverged") / "run", *options, status=1)


@pytest.fixture(scope="session")
def prices(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A table with a linear target in large units: ``price = 1000 + 300 size - 50 age``."""
    rng = np.random.default_rng(0)
    size, age = rng.uniform(1, 5, 200), rng.uniform(0, 10, 200)
    rows = [f"{s:.4f},{a:.4f},{1000 + 300 * s - 50 * a:.4f}" for s, a in zip(size, age, strict=True)]
    path = tmp_path_factory.mktemp("prices") / "prices.csv"
    path.write_text("\n".join(["size,age,price", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def prices_run(prices: pathlib.Path) -> pathlib.Path:
    """Linear regression on the prices."""
    options = ("--data", prices, "--target", "price", "--model", "linear", "--learning-rate", 0.1, "--epochs", 40)
    return trained(prices.with_name("run"), *options)


LINES = ("once upon a midnight dreary", "all that glitters is not gold", "the rest is silence")


@pytest.fixture(scope="session")
def play(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A text of 4,000 characters, of which a few lines are all."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("play") / "play.txt"
    path.write_text("\n".join(LINES[i] for i in rng.integers(3, size=120)) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def play_run(play: pathlib.Path) -> pathlib.Path:
    """A small Transformer that goes on with the play."""
    small = ("--context", 16, "--width", 16, "--layers", 1, "--heads", 2, "--epochs", 2)
    return trained(play.with_name("run"), "--data", play, "--learning-rate", 0.02, *small)


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A table of 120 short texts whose class is in their words."""
    rng = np.random.default_rng(0)
    words = {"good": ["great", "joy", "loved"], "bad": ["dull", "waste", "hated"]}
    rows = [("good", "bad")[i % 2] for i in range(120)]
    texts = [f"the film, {' '.join(rng.choice(words[mood], rng.integers(1, 4)))}" for mood in rows]
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    lines = [f'{i},"{text}",{mood}' for i, (text, mood) in enumerate(zip(texts, rows, strict=True))]
    path.write_text("\n".join(["id,review,mood", *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def reviews_run(reviews: pathlib.Path) -> pathlib.Path:
    """A small TextCNN on the reviews."""
    small = ("--features", 4, "--width", 8, "--kernel", 1, 2, "--epochs", 20, "--learning-rate", 0.02)
    return trained(reviews.with_name("run"), "--data", reviews, "--text", "review", "--target", "mood", *small)


@pytest.fixture(scope="session")
def lake_run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A table learnt on the ice in a few steps, with all that a training leaves."""
    folder = tmp_path_factory.mktemp("lake") / "run"
    small = ("--steps", 2000, "--lanes", 4, "--length", 10)
    options = ("--env", "FrozenLake-v1", "--agent", "q-learning", *small, "--out", folder)
    with pytest.raises(SystemExit) as leaving:
        main([str(argument) for argument in ("train", *options)])
    assert leaving.value.code == 0
    return folder


PPO = ("--lanes", 2, "--length", 8, "--passes", 1, "--batch-size", 16, "--dense", 4, "--steps", 64)


@pytest.fixture(scope="session")
def pole_run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """An actor and a critic that have hardly learnt to balance a pole."""
    return trained(tmp_path_factory.mktemp("pole") / "run", "--env", "CartPole-v1", *PPO)


@pytest.fixture(scope="session")
def catch_run(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Action values that have hardly been learnt."""
    small = ("--lanes", 2, "--batch-size", 8, "--dense", 4, "--steps", 2000, "--capacity", 100)
    return trained(tmp_path_factory.mktemp("catch") / "run", "--env", "Catch", "--agent", "dqn", *small)
