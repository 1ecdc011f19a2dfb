"""What is exported computes what the learner predicts, for any number of inputs, where the source is not there."""

import json
import pathlib
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen
from tests.cases import CASES

import stepax as sx
from stepax import deployment, safetensors
from stepax.deployment import ExportError, export, load_exported

X = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
LEARNER = sx.supervised(sx.nn.MLP((4, 2)), sx.losses.cross_entropy, optax.adam(0.1))
STATE = LEARNER.init(jax.random.key(0), {"x": X})


def model(function: Any) -> sx.Learner:
    """A learner whose predictions are ``function(params, x)``."""
    return sx.supervised(
        sx.Model(
            lambda key, x: ({"w": jnp.arange(1.0, 4.0)}, {}),
            lambda params, variables, x, *, train, key: (function(params, x), variables),
        ),
        sx.losses.mean_squared_error,
        optax.sgd(0.1),
    )


def exported(learner: sx.Learner, path: pathlib.Path, x: Any = X, **settings: Any) -> deployment.Exported:
    state = learner.init(jax.random.key(0), {"x": x})
    export(learner, state, path, x, **settings)
    return load_exported(path)


def first(tree: Any, count: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[:count], tree)


def close(first: Any, second: Any) -> None:
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-5), first, second)


def seven(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: np.resize(leaf, (7, *leaf.shape[1:])), tree)


# A sharded learner is exported by the one inside of it.
@pytest.mark.parametrize("name", [name for name in CASES if name != "shard"])
def test_predicts_as_the_learner_does(tmp_path: pathlib.Path, name: str) -> None:
    case = CASES[name]
    learner, x = case.make(), seven(case.data["x"])
    state = jax.jit(learner.init)(jax.random.key(1), case.data)
    # Statistics and biases of an untrained model are 0 and 1, which would hide that one takes the place of another.
    rng = np.random.default_rng(0)
    state = jax.tree.map(
        lambda leaf: leaf + rng.uniform(-0.3, 0.3, leaf.shape).astype(np.float32) if leaf.dtype == np.float32 else leaf,
        state,
    )
    export(learner, state, tmp_path / "a", first(x, 2))
    predict = load_exported(tmp_path / "a")
    assert predict.platforms == ("cpu", "cuda", "tpu")
    expected = jax.jit(learner.predict)(state, x)
    assert np.std(jax.tree.leaves(expected)[0]) > 0
    for count in (1, 3, 7):
        close(predict(first(x, count)), first(expected, count))


SCRIPT = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "tests" or name.startswith(("tests.", "stepax.nn.", "examples")):
            raise ModuleNotFoundError(name)

import numpy as np
from stepax.deployment import load_exported
sys.meta_path.insert(0, Absent())
try:
    import tests.cases
except ModuleNotFoundError:
    pass
else:
    raise AssertionError("the trap does not work")
# Classes of models are taken out of reach too: nothing below may build one.
for module in [name for name in sys.modules if name.startswith(("stepax.nn", "flax"))]:
    del sys.modules[module]
for name in sys.argv[2:]:
    inputs = np.load(f"{sys.argv[1]}/{name}-x.npz")
    x = inputs["x"] if "x" in inputs.files else dict(inputs)
    expected = np.load(f"{sys.argv[1]}/{name}-y.npy")
    np.testing.assert_allclose(np.asarray(load_exported(f"{sys.argv[1]}/{name}")(x)), expected, 1e-5, 1e-5)
print("equal")
"""


def test_runs_without_the_source_of_the_model(tmp_path: pathlib.Path) -> None:
    names = ["cnn", "lstm", "tree"]
    for name in names:
        case = CASES[name]
        learner, x = case.make(), case.data["x"]
        state = learner.init(jax.random.key(1), case.data)
        export(learner, state, tmp_path / name, x)
        np.savez(tmp_path / f"{name}-x.npz", **(x if isinstance(x, dict) else {"x": x}))
        np.save(tmp_path / f"{name}-y.npy", learner.predict(state, x))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), *names], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "equal\n"


def test_preparation_is_part_of_the_program(tmp_path: pathlib.Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3), np.uint8)
    export(LEARNER, STATE, tmp_path / "a", pixels, before=lambda x: x.astype(jnp.float32) / 255)
    predict = load_exported(tmp_path / "a")
    assert predict.inputs == {"x": "uint8[batch,3]"}
    close(predict(pixels), LEARNER.predict(STATE, pixels.astype(np.float32) / 255))
    with pytest.raises(ExportError, match=r"x is float32\[7,3\], expected uint8\[batch,3\]"):
        predict(X)


def test_trees_of_inputs_and_outputs_keep_their_order(tmp_path: pathlib.Path) -> None:
    # Eleven in a list: as text, 10 comes before 2.
    x = [np.full((4, 1), i, np.float32) for i in range(11)]
    learner = model(lambda params, x: {"b": (x[2] * params["w"][None], x[10][:, 0]), "a": [x[0]]})
    predict = exported(learner, tmp_path / "a", x)
    assert list(predict.inputs)[:2] == ["x[0]", "x[10]"]
    assert predict.outputs == {
        "y['a'][0]": "float32[batch,1]",
        "y['b'][0]": "float32[batch,3]",
        "y['b'][1]": "float32[batch]",
    }
    y = predict(first(x, 3))
    assert y["b"][1].tolist() == [10, 10, 10]
    assert y["b"][0].tolist() == [[2, 4, 6]] * 3


def test_only_what_predict_reads_is_written_and_never_as_a_constant(tmp_path: pathlib.Path) -> None:
    export(LEARNER, STATE, tmp_path / "a", X)
    arrays = safetensors.read(tmp_path / "a").arrays
    assert sorted(set(arrays) - {"program"}) == [
        f"state.params.{layer}.{array}" for layer in ("dense_0", "head") for array in ("bias", "kernel")
    ]
    large = sx.supervised(sx.nn.MLP((200, 2)), sx.losses.cross_entropy, optax.adam(0.1))
    x = np.zeros((2, 300), np.float32)
    export(large, large.init(jax.random.key(0), {"x": x}), tmp_path / "b", x)
    assert safetensors.read(tmp_path / "b").arrays["program"].size < 1.2 * arrays["program"].size


def test_an_average_is_exported_where_predict_uses_it(tmp_path: pathlib.Path) -> None:
    learner = sx.average(LEARNER, 0.5)
    data = {"x": X, "y": np.arange(7) % 2}
    state = learner.init(jax.random.key(0), data)
    for _ in range(3):
        state, _ = learner.step(state, data)
    export(learner, state, tmp_path / "a", X)
    close(load_exported(tmp_path / "a")(X), learner.predict(state, X))


def test_shapes_will_do_for_inputs(tmp_path: pathlib.Path) -> None:
    export(LEARNER, STATE, tmp_path / "a", jax.ShapeDtypeStruct((1, 3), jnp.float32), platforms=["cpu"])
    predict = load_exported(tmp_path / "a")
    assert predict.platforms == ("cpu",)
    close(predict(X), LEARNER.predict(STATE, X))


def test_half_precision(tmp_path: pathlib.Path) -> None:
    state = STATE._replace(params=jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), STATE.params))
    x = jnp.asarray(X, jnp.bfloat16)
    export(LEARNER, state, tmp_path / "a", x)
    predict = load_exported(tmp_path / "a")
    assert predict.outputs == {"y": "bfloat16[batch,2]"}
    np.testing.assert_array_equal(predict(x), jax.jit(LEARNER.predict)(state, x))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (X.astype(np.int32), ExportError, r"^x is int32\[7,3\], expected float32\[batch,3\]$"),
        (X[:, :2], ExportError, r"^x is float32\[7,2\], expected float32\[batch,3\]$"),
        (X[0], ExportError, r"^x is float32\[3\], expected"),
        (X[:0], ExportError, r"^x is float32\[0,3\], expected float32\[batch,3\] with at least one row$"),
        (np.float32(1)[...], ExportError, r"^x is float32\[\], expected"),
        ({"x": X}, ExportError, r"^x is missing, expected float32\[batch,3\]; x\['x'\] is float32\[7,3\], expected no"),
        (X.tolist(), TypeError, "expected an array, got float"),
        (None, TypeError, "x: expected an array, got NoneType"),
        ([], TypeError, "expected arrays, got list without any"),
    ],
)
def test_inputs_of_another_form_are_refused(tmp_path: pathlib.Path, x: Any, error: type, message: str) -> None:
    export(LEARNER, STATE, tmp_path / "a", X)
    with pytest.raises(error, match=message):
        load_exported(tmp_path / "a")(x)


def test_every_array_without_rows_is_told_of(tmp_path: pathlib.Path) -> None:
    case = CASES["tree"]
    learner, x = case.make(), case.data["x"]
    export(learner, learner.init(jax.random.key(0), case.data), tmp_path / "a", x)
    predict = load_exported(tmp_path / "a")
    faults = [f"x['{side}'] is float32[0,1], expected float32[batch,1] with at least one row" for side in x]
    with pytest.raises(ExportError) as raised:
        predict(first(x, 0))
    assert str(raised.value) == "; ".join(faults)
    with pytest.raises(ExportError, match=r"x\['left'\] is .* row; x\['right'\] is float32\[2,1\], expected [^ ]*$"):
        predict({"left": x["left"][:0], "right": x["right"][:2]})


def test_all_arrays_have_as_many_rows(tmp_path: pathlib.Path) -> None:
    case = CASES["tree"]
    learner, x = case.make(), case.data["x"]
    export(learner, learner.init(jax.random.key(0), case.data), tmp_path / "a", x)
    with pytest.raises(
        ExportError, match=r"x\['left'\] is float32\[3,1\], expected float32\[batch,1\]; x\['right'\] is"
    ):
        load_exported(tmp_path / "a")({"left": x["left"][:3], "right": x["right"][:4]})


def test_another_platform_is_refused(tmp_path: pathlib.Path) -> None:
    predict = exported(LEARNER, tmp_path / "a", platforms=["tpu"])
    with pytest.raises(ExportError, match=r"exported for tpu: .*cpu"):
        predict(X)


class Sized(linen.Module):
    """A model that asks for the number of rows."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.Dense(1)(x) if x.shape[0] > 4 else x


def test_what_cannot_be_exported_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a"
    lanes = jax.vmap(LEARNER.init, (0, None))(jax.random.split(jax.random.key(0), 4), {"x": X})
    with pytest.raises(ExportError, match=r"got a population of shape \(4,\)"):
        export(LEARNER, lanes, path, X)
    with pytest.raises(ExportError, match="needs the number of rows"):
        exported(sx.supervised(Sized(), sx.losses.mean_squared_error, optax.sgd(0.1)), path)
    drawn = LEARNER._replace(predict=lambda state, x: x + jax.random.normal(state.key, (1, 3)))
    with pytest.raises(ExportError, match=r"state\.key: predict reads it"):
        export(drawn, STATE, path, X)
    with pytest.raises(ExportError, match="must return arrays in dicts, lists and tuples"):
        exported(model(lambda params, x: sx.data.Scaling(params["w"], x)), path)
    for platforms in ("cpu", (), ("cpu", "abacus")):
        with pytest.raises(ValueError, match="platforms: expected some of cpu, cuda, rocm, tpu"):
            export(LEARNER, STATE, path, X, platforms=platforms)
    for x, error, message in [
        (X[:0], ValueError, r"x has the shape \(0, 3\)"),
        (np.float32(1)[...], ValueError, r"x has the shape \(\)"),
        (X.tolist(), TypeError, "expected an array, got float"),
        (X[:, :2], ValueError, "do not fit the parameters"),
    ]:
        with pytest.raises(error, match=message):
            export(LEARNER, STATE, path, x)
    with pytest.raises(TypeError, match=r"learner: expected a stepax\.Learner"):
        export(sx.nn.MLP((2,)), STATE, path, X)
    with pytest.raises(TypeError, match=r"state: expected a stepax\.State"):
        export(LEARNER, STATE.params, path, X)
    assert not list(tmp_path.iterdir())


def test_of_a_sharded_learner_the_one_inside_is_exported(tmp_path: pathlib.Path) -> None:
    data = {"x": np.resize(X, (16, 3)), "y": np.arange(16) % 2}
    for sharded in (sx.shard(LEARNER, sx.mesh(data=8)), sx.average(sx.shard(LEARNER, sx.mesh(data=8)), 0.5)):
        state = jax.jit(sharded.init)(jax.random.key(0), data)
        with pytest.raises(
            ExportError, match=r"^learner: .* sharded.*: export the learner inside of shard, with the same"
        ):
            export(sharded, state, tmp_path / "a", X)
    assert not list(tmp_path.iterdir())
    learner = sx.supervised(sx.nn.MLP((8, 2)), sx.losses.cross_entropy, optax.adam(0.1))
    sharded = sx.shard(learner, sx.mesh(data=8), sx.by_path({"dense_0/kernel$": jax.P(None, "data")}))
    state, _ = jax.jit(sharded.step)(jax.jit(sharded.init)(jax.random.key(0), data), data)
    assert state.params["dense_0"]["kernel"].addressable_shards[0].data.shape == (3, 1)
    export(learner, state, tmp_path / "a", X)
    predict = load_exported(tmp_path / "a")
    assert predict._exported.nr_devices == 1
    close(predict(X), jax.device_get(sharded.predict(state, X)))


def test_where_no_file_can_be_is_told_before_anything_is_traced(tmp_path: pathlib.Path) -> None:
    def traced(*_: object) -> None:
        raise AssertionError("predict is traced")

    learner = LEARNER._replace(predict=traced)
    with pytest.raises(ExportError, match=rf"^{tmp_path}/no/a: there is no folder {tmp_path}/no to write it into$"):
        export(learner, STATE, tmp_path / "no" / "a", X)
    with pytest.raises(ExportError, match=rf"^{tmp_path}: it is a folder: expected the name of a file$"):
        export(learner, STATE, tmp_path, X)


def test_every_damaged_byte_is_refused_or_harmless(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a"
    predict = exported(LEARNER, path)
    whole = path.read_bytes()
    end = 8 + int.from_bytes(whole[:8], "little")
    refused = 0
    at = {*range(0, end, 3), *range(end, len(whole), 97)}
    for place in sorted(at):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        try:
            loaded = load_exported(path)
        except ExportError:
            refused += 1
        else:
            np.testing.assert_array_equal(loaded(X), predict(X))
    assert refused > 0.98 * len(at)
    for length in (0, 7, end, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ExportError):
            load_exported(path)


def resealed(path: pathlib.Path, *, arrays: dict[str, np.ndarray], **changes: Any) -> None:
    """A file that was made up, with a checksum that holds."""
    content = safetensors.read(path)
    header = {**json.loads(content.metadata[deployment.METADATA]), **changes}
    del header["sha256"]
    held = {name: array for name, array in {**content.arrays, **arrays}.items() if array is not None}
    text = json.dumps({**header, "sha256": deployment._checksum(header, held)})
    safetensors.write(path, held, {deployment.METADATA: text})


def test_a_file_that_was_made_up_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a"
    program = np.frombuffer(b"\x80\x04cos\nsystem\n(S'true'\ntR.", np.uint8)
    for message, arrays, changes in [
        ("cannot read its program", {"program": program}, {}),
        ("cannot read its program", {"program": np.zeros(0, np.uint8)}, {}),
        ("there is no program in it", {"program": None}, {}),
        ("not the one that its header tells of", {}, {"inputs": {"x": "float32[batch,4]"}}),
        ("not the one that its header tells of", {}, {"outputs": None}),
        ("format 'stepax.export/9'; this version of stepax reads 'stepax.export/1'", {}, {"format": "stepax.export/9"}),
    ]:
        export(LEARNER, STATE, path, X)
        resealed(path, arrays=arrays, **changes)
        with pytest.raises(ExportError, match=message):
            load_exported(path)


def test_a_foreign_file_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ExportError, match="no such file"):
        load_exported(tmp_path / "missing")
    sx_weights = tmp_path / "weights"
    safetensors.write(sx_weights, {"a": np.ones(2)}, {})
    with pytest.raises(ExportError, match="it holds arrays, and no exported model"):
        load_exported(sx_weights)
    for text in ("[", "[1]", "{}", '{"format": [1]}'):
        safetensors.write(sx_weights, {"a": np.ones(2)}, {deployment.METADATA: text})
        with pytest.raises(ExportError, match=r"header is damaged|it has the format"):
            load_exported(sx_weights)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ExportError, match="too few"):
        load_exported(tmp_path / "run.json")


def test_a_file_is_whole_or_not_there(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported(LEARNER, tmp_path / "a")
    old = (tmp_path / "a").read_bytes()

    def full(*paths: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        export(LEARNER, STATE, tmp_path / "a", X[:, :3] * 2)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [old]
