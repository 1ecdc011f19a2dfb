"""What loads is what was saved, bit for bit; everything else is refused by name."""

import asyncio
import json
import pathlib
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stepax import checkpoint
from stepax.checkpoint import CheckpointError
from stepax.learner import State


def make_state(seed: int = 0) -> State:
    """A state with all that is awkward: keys of two kinds and shapes, empty trees, empty arrays, small floats, NaN."""
    key = jax.random.key(seed)
    params = {"w": jax.random.normal(key, (30, 40)), "b": jnp.array([0.0, -0.0, jnp.nan, jnp.inf, 1e-40])}
    extra: dict[str, Any] = {
        "stream": {"keys": jax.random.split(key, 3), "other": jax.random.key(seed, impl="rbg"), "nothing": ()},
        "average": {
            "a/b.c d": jnp.ones((2, 3), jnp.bfloat16),
            "Ä": jnp.array([True, False]),
            "empty": jnp.zeros((0, 2)),
        },
        "numpy": np.arange(5, dtype=np.int16),
        "complex": [jnp.array(1 + 2j), np.float32(0.5)],
    }
    return State(params, {}, optax.adam(1e-3).init(params), extra, jnp.int32(7), key)


def bits(tree: Any) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    def raw(leaf: Any) -> bytes:
        leaf = jnp.asarray(leaf)
        return np.asarray(
            jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        ).tobytes()

    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [
        (jax.tree_util.keystr(path), str(jnp.asarray(leaf).dtype), jnp.shape(leaf), raw(leaf)) for path, leaf in leaves
    ]


def like(state: Any) -> Any:
    return jax.eval_shape(lambda: state)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("saved") / "checkpoint"
    checkpoint.save(path, make_state())
    return path


@pytest.fixture
def copy(saved: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(shutil.copytree(saved, tmp_path / "checkpoint"))


def files_of(path: pathlib.Path) -> list[pathlib.Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


@pytest.mark.parametrize("target", [like, lambda state: state], ids=["shapes", "arrays"])
def test_round_trip(saved: pathlib.Path, target: Any) -> None:
    state = make_state()
    loaded = checkpoint.load(saved, target(state))
    assert bits(loaded) == bits(state)
    assert jax.tree.structure(loaded) == jax.tree.structure(state)
    assert all(isinstance(leaf, jax.Array) and not leaf.committed for leaf in jax.tree.leaves(loaded))
    assert str(jax.random.key_impl(loaded.extra["stream"]["other"])) == "rbg"
    np.testing.assert_array_equal(jax.random.bits(loaded.key, (4,)), jax.random.bits(state.key, (4,)))


@pytest.mark.parametrize(
    "tree", [{}, (), {"a": jnp.zeros((0, 3))}, jnp.arange(3.0)], ids=["dict", "tuple", "empty", "leaf"]
)
def test_trees_with_little_in_them(tmp_path: pathlib.Path, tree: Any) -> None:
    checkpoint.save(tmp_path, tree)
    assert bits(checkpoint.load(tmp_path, tree)) == bits(tree)


def test_goes_where_the_target_is(tmp_path: pathlib.Path) -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.NamedSharding(mesh, jax.P("data"))
    tree = {
        "a": jax.device_put(jnp.arange(16.0), rows),
        "keys": jax.device_put(jax.random.split(jax.random.key(0), 8), rows),
    }
    checkpoint.save(tmp_path, tree)
    loaded = checkpoint.load(
        tmp_path, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=rows), tree)
    )
    assert bits(loaded) == bits(tree)
    assert all(leaf.sharding == rows for leaf in jax.tree.leaves(loaded))


def test_works_inside_an_event_loop(tmp_path: pathlib.Path) -> None:
    async def notebook() -> Any:
        checkpoint.save(tmp_path, {"a": jnp.arange(3)})
        return checkpoint.load(tmp_path, {"a": jnp.zeros(3, jnp.int32)})

    np.testing.assert_array_equal(asyncio.run(notebook())["a"], np.arange(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s._replace(step=jnp.float32(0)), r"tree\.step is int32\[\] where float32\[\] was expected"),
        (
            lambda s: s._replace(params={**s.params, "w": jnp.zeros((40, 30))}),
            r"tree\.params\['w'\] is float32\[30,40\] where float32\[40,30\]",
        ),
        (
            lambda s: s._replace(params={"w": s.params["w"]}),
            r"tree\.params\['b'\] is float32\[5\] where nothing was expected",
        ),
        (
            lambda s: s._replace(variables={"mean": jnp.zeros(2)}),
            r"tree\.variables\['mean'\] is absent where float32\[2\]",
        ),
        (lambda s: s._replace(key=jax.random.key(0, impl="rbg")), r"tree\.key is key<fry>\[\] where key<rbg>\[\]"),
        (
            lambda s: s._replace(opt_state=optax.sgd(1e-3, momentum=0.9).init(s.params)),
            r"tree\.opt_state\[0\]\.trace.*and \d more",
        ),
    ],
    ids=["dtype", "shape", "less", "more", "generator", "optimizer"],
)
def test_another_tree_is_refused_by_name(saved: pathlib.Path, change: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(saved, like(change(make_state())))


def test_doubles_are_not_narrowed_in_silence(tmp_path: pathlib.Path) -> None:
    with jax.enable_x64(True):
        checkpoint.save(tmp_path, {"a": jnp.full(2, 0.1)})
        assert checkpoint.load(tmp_path, {"a": jnp.zeros(2)})["a"].dtype == jnp.float64
    with pytest.raises(CheckpointError, match=r"tree\['a'\] is float64\[2\] where float32\[2\]"):
        checkpoint.load(tmp_path, {"a": np.zeros(2)})


def test_every_flipped_bit_is_refused_or_harmless(copy: pathlib.Path) -> None:
    rng, state = np.random.default_rng(0), make_state()
    expected, target, refused = bits(state), like(state), 0
    paths = [path for path in files_of(copy) if path.stat().st_size]
    for path in (paths * 60)[:60]:
        whole = path.read_bytes()
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        try:
            assert bits(checkpoint.load(copy, target)) == expected
        except CheckpointError:
            refused += 1
        path.write_bytes(whole)
    assert refused >= 55
    assert bits(checkpoint.load(copy, target)) == expected


def test_damage_that_passes_through_orbax_is_refused_by_name(
    saved: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = checkpoint.ocp.load

    def wrong(*arguments: Any) -> Any:
        loaded = inner(*arguments)
        loaded["tree.params['w']"].view(np.uint8)[3, 5] ^= 1
        return loaded

    monkeypatch.setattr(checkpoint.ocp, "load", wrong)
    with pytest.raises(CheckpointError, match=r"tree\.params\['w'\] is damaged"):
        checkpoint.load(saved, like(make_state()))


def test_a_file_cut_short_or_missing_is_refused(copy: pathlib.Path) -> None:
    target = like(make_state())
    for path in files_of(copy):
        whole = path.read_bytes()
        for length in sorted({0, 1, len(whole) // 2, len(whole) - 2} & set(range(len(whole)))):
            path.write_bytes(whole[:length])
            with pytest.raises(CheckpointError, match="damaged"):
                checkpoint.load(copy, target)
        path.unlink()
        with pytest.raises(CheckpointError, match=r"is missing|there is no index\.json"):
            checkpoint.load(copy, target)
        path.write_bytes(whole)
    checkpoint.load(copy, target)


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        checkpoint.load(tmp_path / "missing", {})
    with pytest.raises(CheckpointError, match="no checkpoint"):
        checkpoint.load(tmp_path, {})
    for text, message in {
        "[1]": "format None",
        '{"format": "stepax.checkpoint/9"}': "format 'stepax.checkpoint/9'",
    }.items():
        (tmp_path / "index.json").write_text(text)
        with pytest.raises(CheckpointError, match=message):
            checkpoint.load(tmp_path, {})
    whole = {"arrays": "arrays-00000000", "about": {}, "files": {}, "leaves": {}}
    leaf = {"dtype": "int32", "shape": 3, "sha256": ""}
    for fields in ({}, {**whole, "leaves": {"a": leaf}}, {**whole, "arrays": "../arrays-00000000"}):
        index = {"format": checkpoint.FORMAT, **fields}
        (tmp_path / "index.json").write_text(json.dumps(index))
        with pytest.raises(CheckpointError, match="does not have the checksum"):
            checkpoint.load(tmp_path, {})
        # A checksum can be made for anything.
        (tmp_path / "index.json").write_text(json.dumps({**index, "sha256": checkpoint._own_checksum(index)}))
        with pytest.raises(CheckpointError, match="fields are missing"):
            checkpoint.load(tmp_path, {})


def test_the_old_one_goes_when_the_new_one_is_whole(tmp_path: pathlib.Path) -> None:
    (tmp_path / "notes.txt").write_text("kept")
    for seed in (0, 1):
        checkpoint.save(tmp_path, make_state(seed))
    assert bits(checkpoint.load(tmp_path, like(make_state()))) == bits(make_state(1))
    assert {path.name.split("-")[0] for path in tmp_path.iterdir()} == {"index.json", "arrays", "notes.txt"}
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("moment", ["arrays", "index"])
def test_a_crash_while_saving_leaves_the_old_one(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def crash(path: Any, *_: Any) -> None:
        if moment == "arrays":
            pathlib.Path(f"{path}.orbax-checkpoint-tmp").mkdir()
        raise KeyboardInterrupt

    def crashing_save(seed: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint.ocp, "save", crash) if moment == "arrays" else patch.setattr(
                checkpoint, "write_json", crash
            )
            with pytest.raises(KeyboardInterrupt):
                checkpoint.save(tmp_path, make_state(seed))

    target = like(make_state())
    crashing_save(0)
    with pytest.raises(CheckpointError, match="cut short"):
        checkpoint.load(tmp_path, target)
    checkpoint.save(tmp_path, make_state(1))
    crashing_save(2)
    assert bits(checkpoint.load(tmp_path, target)) == bits(make_state(1))
    checkpoint.save(tmp_path, make_state(3))
    assert len(list(tmp_path.iterdir())) == 2  # what the crashes left is gone
