"""Weights come back bit for bit under names that others know, and mean the same to PyTorch."""

import pathlib
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors import numpy as reference
from tests.cases import CASES

import stepax as sx
from stepax import weights
from stepax.weights import WeightsError

IMAGES = np.random.default_rng(0).normal(size=(5, 8, 6, 3)).astype(np.float32)


def started(case: str) -> sx.State:
    return CASES[case].make().init(jax.random.key(1), CASES[case].data)


def randomized(tree: Any, seed: int = 0) -> Any:
    """Other values in the same places, all of them between 0.5 and 1.5: a variance must be positive."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype), tree)


def same(first: Any, second: Any) -> None:
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("case", CASES)
def test_round_trip(tmp_path: pathlib.Path, case: str) -> None:
    state = started(case)
    weights.save(tmp_path / "a.safetensors", state)
    other = state._replace(params=randomized(state.params), variables=randomized(state.variables), step=jnp.int32(7))
    loaded = weights.load(tmp_path / "a.safetensors", other)
    same((loaded.params, loaded.variables), (state.params, state.variables))
    assert loaded.step == 7
    assert loaded.opt_state is other.opt_state
    shapes = jax.eval_shape(lambda: (state.params, state.variables))
    same(weights.load(tmp_path / "a.safetensors", shapes), (state.params, state.variables))


def test_names_are_dotted_paths(tmp_path: pathlib.Path) -> None:
    state = started("cnn")
    weights.save(tmp_path / "a", state)
    assert sorted(reference.load_file(tmp_path / "a")) == [
        *(f"batch_stats.{layer}.{array}" for layer in ("dense_norm_0", "norm_0") for array in ("mean", "var")),
        "conv_0.kernel",
        "dense_0.kernel",
        *(f"{layer}.{array}" for layer in ("dense_norm_0",) for array in ("bias", "scale")),
        *(f"head.{array}" for array in ("bias", "kernel")),
        *(f"norm_0.{array}" for array in ("bias", "scale")),
    ]
    weights.save(tmp_path / "a", state.params)
    assert "conv_0.kernel" in reference.load_file(tmp_path / "a")
    same(weights.load(tmp_path / "a", jax.eval_shape(lambda: state.params)), state.params)


def test_half_precision_and_odd_leaves(tmp_path: pathlib.Path) -> None:
    tree = {"a": [jnp.linspace(0, 1, 7).astype(jnp.bfloat16), jnp.float16(0.5)], "b": {"0": jnp.array([True, False])}}
    weights.save(tmp_path / "a", tree)
    same(weights.load(tmp_path / "a", tree), tree)
    assert set(weights.read(tmp_path / "a")) == {"a.0", "a.1", "b.0"}


def test_the_same_weights_make_the_same_file(tmp_path: pathlib.Path) -> None:
    for name in "ab":
        weights.save(tmp_path / name, started("cnn"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_goes_where_the_target_is(tmp_path: pathlib.Path) -> None:
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.NamedSharding(mesh, jax.P("data"))
    weights.save(tmp_path / "a", {"a": jnp.arange(16.0)})
    like = {"a": jax.ShapeDtypeStruct((16,), jnp.float32, sharding=rows)}
    assert weights.load(tmp_path / "a", like)["a"].sharding == rows
    assert not weights.load(tmp_path / "a", {"a": jnp.zeros(16)})["a"].committed


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"w": jnp.zeros((3, 2)), "b": jnp.zeros(3)}, r"w is float32\[2,3\] where float32\[3,2\] was expected$"),
        ({"w": jnp.zeros((2, 3))}, r"b is float32\[3\], and was not expected$"),
        (
            {"w": jnp.zeros((2, 3), jnp.bfloat16), "b": jnp.zeros(3), "c": jnp.zeros(())},
            r"c is missing where float32\[\] was expected; w is float32\[2,3\] where bfloat16\[2,3\] was expected$",
        ),
        ({str(i): jnp.zeros(1) for i in range(20)}, "; and 14 more$"),
    ],
)
def test_other_weights_are_refused_by_name(tmp_path: pathlib.Path, like: Any, message: str) -> None:
    weights.save(tmp_path / "a", {"w": jnp.ones((2, 3)), "b": jnp.ones(3)})
    with pytest.raises(WeightsError, match=message):
        weights.load(tmp_path / "a", like)


def test_statistics_are_part_of_the_weights(tmp_path: pathlib.Path) -> None:
    state = started("cnn")
    weights.save(tmp_path / "a", state)
    with pytest.raises(WeightsError, match=r"batch_stats\.norm_0\.mean is float32\[4\], and was not expected"):
        weights.load(tmp_path / "a", state.params)
    weights.save(tmp_path / "a", state.params)
    with pytest.raises(WeightsError, match=r"batch_stats\.norm_0\.mean is missing"):
        weights.load(tmp_path / "a", (state.params, state.variables))


def test_doubles_are_not_narrowed_in_silence(tmp_path: pathlib.Path) -> None:
    weights.save(tmp_path / "a", {"a": np.zeros(2)})
    with pytest.raises(WeightsError, match=r"a is float64\[2\] where float32\[2\]"):
        weights.load(tmp_path / "a", {"a": np.zeros(2)})
    assert weights.read(tmp_path / "a")["a"].dtype == np.float64


def test_a_later_version_is_refused_and_a_foreign_format_is_not(tmp_path: pathlib.Path) -> None:
    for kind in ("stepax.weights/9", "pt"):
        reference.save_file({"a": np.ones(2, np.float32)}, tmp_path / kind[-1], {"format": kind})
    assert weights.load(tmp_path / "t", {"a": jnp.zeros(2)})["a"].sum() == 2
    for read in (weights.read, lambda path: weights.load(path, {"a": jnp.zeros(2)})):
        with pytest.raises(WeightsError, match=r"format 'stepax.weights/9'; this version of stepax reads '.*/1'"):
            read(tmp_path / "9")


def test_arguments_are_checked(tmp_path: pathlib.Path) -> None:
    state = started("mlp")
    with pytest.raises(TypeError, match="a state of shapes alone"):
        weights.load(tmp_path / "a", jax.eval_shape(lambda: state))
    for tree, error, message in [
        ({"a": 1}, TypeError, "a: expected an array, got int"),
        ({"a": jax.ShapeDtypeStruct((2,), jnp.float32)}, TypeError, "a: expected an array, got ShapeDtypeStruct"),
        ({"a": jax.random.key(0)}, TypeError, "a: expected an array of numbers, got random keys"),
        ({"a": np.array(["x"])}, TypeError, "a has dtype <U1"),
        ({}, WeightsError, "no arrays"),
        ({"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}}, WeightsError, "a.b: there are two arrays of this name"),
        (({"a": jnp.ones(1)}, {"a": jnp.ones(1)}), WeightsError, "a: there are two arrays"),
        (jnp.ones(3), WeightsError, "printable characters"),
    ]:
        with pytest.raises(error, match=message):
            weights.save(tmp_path / "a", tree)
    assert not list(tmp_path.iterdir())


# PyTorch, whose models are written here as its users would.


def torch_mlp(nn: Any, normalize: bool) -> Any:
    from collections import OrderedDict

    layers: dict[str, Any] = {"flatten": nn.Flatten()}
    inputs = 8 * 6 * 3
    for i, width in enumerate((16, 12)):
        layers[f"dense_{i}"] = nn.Linear(inputs, width)
        layers |= {f"norm_{i}": nn.BatchNorm1d(width)} if normalize else {}
        layers[f"relu_{i}"] = nn.ReLU()
        inputs = width
    return nn.Sequential(OrderedDict(layers, head=nn.Linear(inputs, 4)))


def torch_cnn(nn: Any, normalize: bool) -> Any:
    from collections import OrderedDict

    layers: dict[str, Any] = {}
    inputs = 3
    for name, width in {"0_0": 5, "0_1": 6, "1": 7}.items():
        layers[f"conv_{name}"] = nn.Conv2d(inputs, width, 3, padding=1, bias=not normalize)
        layers |= {f"norm_{name}": nn.BatchNorm2d(width)} if normalize else {}
        layers[f"relu_{name}"] = nn.ReLU()
        layers |= {f"pool_{name}": nn.MaxPool2d(2)} if name != "0_0" else {}
        inputs = width
    layers |= {"flatten": nn.Flatten(), "dense_0": nn.Linear(7 * 2 * 1, 9, bias=not normalize)}
    layers |= {"dense_norm_0": nn.BatchNorm1d(9)} if normalize else {}
    return nn.Sequential(OrderedDict(layers, relu=nn.ReLU(), head=nn.Linear(9, 4)))


MODELS = {
    "mlp": (torch_mlp, lambda normalize: sx.nn.MLP((16, 12, 4), normalize=normalize), {"channels": 3}),
    "cnn": (torch_cnn, lambda normalize: sx.nn.CNN(((5, 6), 7), (9,), 4, normalize=normalize), {}),
}


def ours(name: str, normalize: bool, seed: int = 0) -> tuple[Any, Any, Any, dict[str, Any]]:
    _, make, settings = MODELS[name]
    model = sx.as_model(make(normalize))
    params, variables = model.init(jax.random.key(0), IMAGES)
    # Positive statistics; kernels as drawn, so that the activations differ in sign.
    params = jax.tree.map(lambda leaf, other: other if leaf.ndim == 1 else leaf, params, randomized(params, seed))
    return model, params, randomized(variables, seed + 1), settings


def outputs(model: Any, params: Any, variables: Any) -> np.ndarray:
    return np.asarray(model.apply(params, variables, IMAGES, train=False, key=None)[0])


def torch_outputs(torch: ModuleType, model: Any) -> np.ndarray:
    with torch.no_grad():
        return model.eval()(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())).numpy()


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_pytorch_computes_the_same_with_our_weights(torch: ModuleType, name: str, normalize: bool) -> None:
    model, params, variables, settings = ours(name, normalize)
    theirs = MODELS[name][0](torch.nn, normalize)
    state_dict = weights.to_torch((params, variables), **settings)
    theirs.load_state_dict({key: torch.from_numpy(array) for key, array in state_dict.items()}, strict=True)
    expected = outputs(model, params, variables)
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(torch_outputs(torch, theirs), expected, 1e-5, 1e-5)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_we_compute_the_same_with_the_weights_of_pytorch(torch: ModuleType, name: str, normalize: bool) -> None:
    torch.manual_seed(0)
    theirs = MODELS[name][0](torch.nn, normalize)
    for _ in range(3):  # moves the running statistics
        theirs.train()(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy()))
    model, params, variables, settings = ours(name, normalize)
    for like in ((params, variables), jax.eval_shape(lambda: (params, variables))):
        mapped = weights.from_torch(theirs.state_dict(), like, **settings)
        np.testing.assert_allclose(outputs(model, *mapped), torch_outputs(torch, theirs), 1e-5, 1e-5)
    back = weights.to_torch(mapped, **settings)
    assert back.keys() == theirs.state_dict().keys()
    for key, tensor in theirs.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(back[key], tensor.numpy(), strict=True)


def test_a_step_of_training_in_pytorch_and_here_agrees(torch: ModuleType) -> None:
    model, params, variables, _ = ours("cnn", True)
    theirs = torch_cnn(torch.nn, True)
    state_dict = weights.to_torch((params, variables))
    theirs.load_state_dict({key: torch.from_numpy(array) for key, array in state_dict.items()})
    output = theirs.train()(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy()))
    expected, _ = model.apply(params, variables, IMAGES, train=True, key=jax.random.key(0))
    np.testing.assert_allclose(output.detach().numpy(), expected, 1e-4, 1e-4)


def test_files_of_pytorch(torch: ModuleType, tmp_path: pathlib.Path) -> None:
    files = pytest.importorskip("safetensors.torch")
    model, params, variables, _ = ours("cnn", True)
    weights.save(tmp_path / "ours", weights.to_torch((params, variables)))
    theirs = torch_cnn(torch.nn, True)
    theirs.load_state_dict(files.load_file(tmp_path / "ours"), strict=True)
    np.testing.assert_allclose(torch_outputs(torch, theirs), outputs(model, params, variables), 1e-5, 1e-5)
    files.save_file(theirs.state_dict(), tmp_path / "theirs", {"format": "pt"})
    same(
        weights.from_torch(weights.read(tmp_path / "theirs"), (params, variables)),
        jax.tree.map(jnp.asarray, (params, variables)),
    )


def test_half_precision_of_pytorch(torch: ModuleType, tmp_path: pathlib.Path) -> None:
    files = pytest.importorskip("safetensors.torch")
    params = {"head": {"kernel": jnp.arange(6.0, dtype=jnp.bfloat16).reshape(2, 3), "bias": jnp.ones(3, jnp.bfloat16)}}
    weights.save(tmp_path / "a", weights.to_torch(params))
    tensors = files.load_file(tmp_path / "a")
    assert tensors["head.weight"].dtype == torch.bfloat16
    assert tensors["head.weight"].tolist() == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(WeightsError, match=r"head\.\w+ is nothing that NumPy can hold"):
        weights.from_torch(tensors, params)
    files.save_file(tensors, tmp_path / "b")
    same(weights.from_torch(weights.read(tmp_path / "b"), params), params)


def test_layers_of_other_names(torch: ModuleType) -> None:
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    names = {"dense_0": "0", "head": "2"}
    learner = sx.supervised(sx.nn.MLP((4, 2), jnp.tanh), sx.losses.cross_entropy, optax.sgd(0.1))
    x = np.float32([[1, 2, 3], [-1, 0, 1]])
    state = learner.init(jax.random.key(0), {"x": x, "y": np.array([0, 1])})
    mapped = weights.from_torch(theirs.state_dict(), state, names=names)
    with torch.no_grad():
        np.testing.assert_allclose(learner.predict(mapped, x), theirs(torch.from_numpy(x)).numpy(), 1e-5, 1e-5)
    assert mapped.opt_state is state.opt_state
    assert weights.to_torch(mapped, names=names).keys() == theirs.state_dict().keys()


def test_the_order_of_a_flattened_image_by_hand() -> None:
    # Two places of three channels: place by place here, channel by channel in PyTorch.
    params = {"head": {"kernel": jnp.arange(6.0)[:, None]}, "conv_0": {"kernel": jnp.zeros((1, 1, 1, 3))}}
    assert weights.to_torch(params)["head.weight"].tolist() == [[0, 3, 1, 4, 2, 5]]
    head = {"head": params["head"]}
    assert weights.to_torch(head, channels=3)["head.weight"].tolist() == [[0, 3, 1, 4, 2, 5]]
    assert weights.to_torch(head)["head.weight"].tolist() == [[0, 1, 2, 3, 4, 5]]


def test_the_last_convolution_is_the_last_by_number() -> None:
    convolutions = {f"conv_{i}": {"kernel": jnp.zeros((1, 1, 1, 2 if i == 10 else 3))} for i in range(11)}
    params = {**convolutions, "dense_0": {"kernel": jnp.arange(4.0)[:, None]}, "head": {"kernel": jnp.ones((1, 1))}}
    assert weights.to_torch(params)["dense_0.weight"].tolist() == [[0, 2, 1, 3]]


def test_what_is_no_state_dict_of_the_model_is_refused_by_name() -> None:
    _, params, variables, _ = ours("cnn", True)
    state_dict = weights.to_torch((params, variables))

    def refused(message: str, **changes: Any) -> None:
        changed = {key: value for key, value in {**state_dict, **changes}.items() if value is not None}
        with pytest.raises(WeightsError, match=message):
            weights.from_torch(changed, (params, variables))

    refused(r"state_dict: .*head\.bias is missing where float32\[4\] was expected$", **{"head.bias": None})
    refused(r"extra\.weight is float32\[2\], and was not expected$", **{"extra.weight": np.ones(2, np.float32)})
    refused(r"head\.bias is float64\[4\] where float32\[4\]", **{"head.bias": np.ones(4)})
    kernel = np.ones((3, 3, 6, 7), np.float32)
    refused(r"conv_1\.weight is float32\[3,3,6,7\] where float32\[7,6,3,3\]", **{"conv_1.weight": kernel})
    with pytest.raises(WeightsError, match=r"norm_0_0\.running_mean is float32\[5\], and was not expected"):
        weights.from_torch(state_dict, params)
    with pytest.raises(TypeError, match="a state of shapes alone"):
        weights.from_torch(state_dict, jax.eval_shape(lambda: started("cnn")))


def test_the_state_of_a_population_is_refused_and_one_lane_is_not() -> None:
    learner = sx.supervised(sx.nn.MLP((4, 3)), sx.losses.cross_entropy, optax.sgd(0.1))
    data = {"x": IMAGES[:, 0, 0], "y": np.zeros(5, np.int32)}
    many = sx.population(learner, 2).init(jax.random.key(0), data)
    state_dict = weights.to_torch(sx.lane(many, 1))
    message = r"this is the state of 2 lanes; take one with stepax.lane\(state, k\)"
    with pytest.raises(WeightsError, match=f"tree: {message}"):
        weights.to_torch(many)
    with pytest.raises(WeightsError, match=f"like: {message}"):
        weights.from_torch(state_dict, many)
    same(weights.from_torch(state_dict, sx.lane(many, 0)).params, sx.lane(many, 1).params)


def test_models_without_a_counterpart_are_refused() -> None:
    strange = {"lstm": "lstm.forward_0_bias", "scaled": "scaling.inputs.mean", "transfer": "frozen.conv_0"}
    for case, message in strange.items():
        with pytest.raises(WeightsError, match=f"{message}.*expected parameters and batch statistics of a stepax.nn"):
            weights.to_torch(started(case))
    mlp = started("mlp").params
    for settings, message in [
        ({"names": {"conv": "a"}}, "there is no layer 'conv', only dense_0, head"),
        ({"names": {"dense_0": "head"}}, "two arrays would have one name"),
        ({"channels": 3}, "3 do not divide the 2 inputs of dense_0.kernel"),
        ({"channels": 0}, "0 do not divide the 2 inputs"),
    ]:
        with pytest.raises(WeightsError, match=message):
            weights.to_torch(mlp, **settings)
    with pytest.raises(WeightsError, match="channels: 3 are given, but the model's convolutions say it"):
        weights.to_torch(started("cnn"), channels=3)
    with pytest.raises(WeightsError, match="expected a kernel of 2 or 4 axes"):
        weights.to_torch({"conv_0": {"kernel": jnp.ones((3, 1, 2))}})
