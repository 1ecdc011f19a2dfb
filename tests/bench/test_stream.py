import jax
import numpy as np
import pytest

from bench import stream


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SHAPE", (4, 4, 1))
    monkeypatch.setattr(stream, "PIECE", 16)
    monkeypatch.setattr(stream, "SUBSET", 24)


def test_the_data_set_is_written_in_pieces(tmp_path) -> None:
    stream.write(tmp_path / "x.npy", 40)
    images, labels = np.load(tmp_path / "x.npy"), np.load(tmp_path / "y.npy")
    assert (images.shape, images.dtype, labels.shape) == ((40, 4, 4, 1), np.float32, (40,))
    np.testing.assert_allclose(
        images[16:32] - images[:16],
        (labels[16:32] - labels[:16])[:, None, None, None] / 10.0 * np.ones((1, 4, 4, 1)),
        atol=1e-6,
    )


@pytest.mark.parametrize(("where", "steps"), [("memory", 3), ("stream", 5)])
def test_both_train_on_it(tmp_path, where: str, steps: int) -> None:
    stream.write(tmp_path / "x.npy", 40)
    turns = stream.training("mlp", tmp_path / "x.npy", 8, 1, where)
    made = 0
    while made < steps:
        made += next(turns)
    assert made == steps  # a chunk ends with the epoch
    turns.close()
    jax.effects_barrier()


def test_memory_is_told_by_its_kinds() -> None:
    now = stream.status()
    assert now["VmHWM"] >= now["VmRSS"] > now["RssAnon"] > 10
