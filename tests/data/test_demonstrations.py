"""Demonstrations come back as they were; what is no such file is refused by name."""

import numpy as np
import pytest

from stepax.data import demonstrations, save_demonstrations

STEPS = {
    "observation": np.float32([[0, 1], [2, 3], [4, 5]]),
    "action": np.int32([0, 1, 2]),
    "reward": np.float32([-1, 0.5, 1e-30]),
    "terminated": np.array([False, True, False]),
    "truncated": np.array([False, False, True]),
    "next_observation": np.float32([[2, 3], [9, 9], [6, 7]]),
}


def test_they_come_back_bit_by_bit(tmp_path) -> None:
    path = tmp_path / "driven.npz"
    save_demonstrations(path, {name: STEPS[name] for name in sorted(STEPS)})
    found = demonstrations(str(path))
    assert list(found) == list(STEPS)
    for name, array in STEPS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    save_demonstrations(path, {**STEPS, "action": STEPS["action"][::-1]})  # in place of the old one
    assert demonstrations(path)["action"].tolist() == [2, 1, 0]
    assert [each.name for each in tmp_path.iterdir()] == ["driven.npz"]


def test_numpy_writes_them_too(tmp_path) -> None:
    np.savez(tmp_path / "own.npz", **STEPS)
    np.testing.assert_array_equal(demonstrations(tmp_path / "own.npz")["reward"], STEPS["reward"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"reward": None}, ValueError, r"expected the arrays .*'reward'.*, got \['action'"),
        ({"score": np.zeros(3)}, ValueError, "expected the arrays .*, got .*'score'"),
        ({"reward": np.zeros(2)}, ValueError, r'\["reward"\] has 2 rows, but .*\["\w+"\] has 3'),
        ({"reward": np.float32([0, np.inf, 0])}, ValueError, r'\["reward"\] holds NaN or inf in 1 of 3 rows'),
        ({"action": np.array(["up", "up", "down"])}, TypeError, r'\["action"\] has dtype <U4: expected numbers'),
    ],
)
def test_what_are_no_demonstrations_is_refused_by_both(change, error, message, tmp_path) -> None:
    steps = {name: array for name, array in {**STEPS, **change}.items() if array is not None}
    with pytest.raises(error, match="steps.*" + message):
        save_demonstrations(tmp_path / "wrong.npz", steps)
    assert not list(tmp_path.iterdir())
    np.savez(tmp_path / "wrong.npz", **steps)
    with pytest.raises(error, match="wrong.npz.*" + message):
        demonstrations(tmp_path / "wrong.npz")


def test_no_object_is_loaded(tmp_path) -> None:
    np.savez(tmp_path / "objects.npz", **{**STEPS, "action": np.array([{}, {}, {}], object)})
    with pytest.raises(ValueError, match="'action' holds Python objects, which are never loaded"):
        demonstrations(tmp_path / "objects.npz")


def test_files_that_are_none(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        demonstrations(tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("observation, action")
    with pytest.raises(ValueError, match=r"text.npz is not a readable .npz archive"):
        demonstrations(tmp_path / "text.npz")
    whole = tmp_path / "whole.npz"
    save_demonstrations(whole, STEPS)
    (tmp_path / "half.npz").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"half.npz is not a readable .npz archive"):
        demonstrations(tmp_path / "half.npz")


def test_where_nothing_can_be_written(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"path: expected a name that ends in .npz, got .*driven.npy"):
        save_demonstrations(tmp_path / "driven.npy", STEPS)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        save_demonstrations(tmp_path / "no" / "driven.npz", STEPS)
    with pytest.raises(TypeError, match="steps: expected a dict of arrays, got list"):
        save_demonstrations(tmp_path / "driven.npz", [STEPS])
