"""Models as a pure pair of functions, made from Flax modules of either kind."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import errors, linen

from stepax.keys import flat
from stepax.typing import Array, Key, Tree

__all__ = ["Model", "as_model", "from_linen", "from_nnx", "scaled"]

# The arguments by which modules are told that they are trained, and what says so.
IN_TRAINING = {"train": True, "training": True, "is_training": True, "deterministic": False}


class Model(NamedTuple):
    """A model as two pure functions.

    Attributes:
        init: ``(key, x) -> (params, variables)``, nested dicts: what gradients change, and the model's own statistics
            (``{}`` if it has none).
        apply: ``(params, variables, x, *, train, key) -> (output, variables)``. Without ``train`` the variables stay as
            they are and no key is needed.
    """

    init: Callable[[Key, Any], tuple[Tree, Tree]]
    apply: Callable[..., tuple[Any, Tree]]


def as_model(model: Any) -> Model:
    """Takes a ``Model`` or a Linen module as it is.

    Raises:
        TypeError: It is neither.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, linen.Module):
        return from_linen(model)
    raise TypeError(
        f"model: expected a Linen module or a stepax.Model, got {type(model).__name__}; "
        "for an NNX module pass stepax.from_nnx(lambda rngs: YourModule(…, rngs=rngs))"
    )


def from_linen(module: linen.Module) -> Model:
    """The ``Model`` of a Linen module.

    Args:
        module: A module with ``__call__(x)`` or ``__call__(x, train)``; the latter is told by its signature, and so
            are ``training``, ``is_training`` and ``deterministic`` (``not train``). In training, every random stream
            that it asks for (dropout's, or one of its own) comes from the step's key.

    Returns:
        The pair. ``variables`` are the collections that the module makes beside ``params``, such as ``batch_stats``.
    """
    mode = _mode(type(module))

    def init(key: Key, x: Any) -> tuple[Tree, Tree]:
        variables = dict(module.init(flat(key), x, **mode(False)))
        return variables.pop("params", {}), variables

    def apply(params: Tree, variables: Tree, x: Any, *, train: bool, key: Key | None) -> tuple[Any, Tree]:
        collections = {"params": params, **variables}
        # The stream "params" also feeds every stream that is not named here.
        rngs = {} if key is None else dict(zip(("dropout", "params"), jax.random.split(flat(key)), strict=True))
        try:
            if not train:
                return module.apply(collections, x, **mode(False)), variables
            output, changed = module.apply(collections, x, **mode(True), rngs=rngs, mutable=list(variables))
        except errors.ScopeParamShapeError as error:
            shapes = jax.tree.map(lambda leaf: leaf.shape[1:], x)
            raise ValueError(
                f"x: examples of shape {shapes} do not fit the parameters of this model. "
                + str(error).split(" (http")[0]
            ) from error
        return output, {**variables, **_in_dtypes_of(variables, changed)}

    return Model(init, apply)


def _mode(module: Any) -> Callable[[bool], dict[str, Any]]:
    """``train -> arguments`` that tell a module of this class whether it is trained, as its signature names them."""
    names = IN_TRAINING.keys() & inspect.signature(module.__call__).parameters
    return lambda train: {name: IN_TRAINING[name] == train for name in names}


def _in_dtypes_of(before: Tree, after: Tree) -> Tree:
    """``after`` in the dtypes of ``before``: statistics of float64 inputs stay float32, as the parameters do."""
    dtypes = {path: leaf.dtype for path, leaf in jax.tree_util.tree_leaves_with_path(before)}
    return jax.tree_util.tree_map_with_path(lambda path, leaf: leaf.astype(dtypes.get(path, leaf.dtype)), after)


class _Scaling(Protocol):
    """A mean and a scale, each broadcasting against one example."""

    @property
    def mean(self) -> Any: ...

    @property
    def scale(self) -> Any: ...


def scaled(model: Any, inputs: _Scaling | None = None, outputs: _Scaling | None = None) -> Model:
    r"""A model that takes raw inputs and answers in raw units.

    It computes :math:`\mu_y + \sigma_y f((x - \mu_x) / \sigma_x)`. The scalings are part of ``variables`` (under
    ``scaling``): they are saved with the model, gradients do not touch them, and a new input needs no preparation by
    the caller.

    Args:
        model: A model or Linen module ``f``.
        inputs: Mean and scale of the inputs, as :func:`stepax.data.standardization` fits them on training data;
            ``None`` leaves them raw.
        outputs: Mean and scale of the targets; ``None`` leaves the output raw.

    Returns:
        The scaled model.

    Raises:
        TypeError: ``model`` is no model; when first used, inputs or outputs that are scaled are several arrays.
        ValueError: When first used, the model is scaled already, or its scaling is of another shape than its inputs.
    """
    inner = as_model(model)
    given = {"inputs": inputs, "outputs": outputs}
    scaling = {name: {"mean": s.mean, "scale": s.scale} for name, s in given.items() if s is not None}

    def standardized(x: Any, scaling: Tree) -> Any:
        if "inputs" not in scaling:
            return x
        _check_one_array("x", x)
        mean, scale = scaling["inputs"]["mean"], scaling["inputs"]["scale"]
        if jnp.shape(mean) not in ((), x.shape[1:]):
            raise ValueError(
                f"x: examples of shape {x.shape[1:]}, but the model's scaling was fitted to examples of shape "
                f"{jnp.shape(mean)}"
            )
        # Whole numbers, such as bytes of images, would round the scaling.
        x = jnp.asarray(x, jnp.result_type(x, float))
        return (x - _beside(mean, x)) / _beside(scale, x)

    def init(key: Key, x: Any) -> tuple[Tree, Tree]:
        arrays = jax.tree.map(jnp.asarray, scaling)
        params, variables = inner.init(key, standardized(x, arrays))
        if "scaling" in variables:
            raise ValueError("model: it is scaled already; give both scalings at once")
        return params, {**variables, "scaling": arrays}

    def apply(params: Tree, variables: Tree, x: Any, *, train: bool, key: Key | None) -> tuple[Any, Tree]:
        own = variables["scaling"]
        rest = {name: value for name, value in variables.items() if name != "scaling"}
        output, rest = inner.apply(params, rest, _in_half_like(params, standardized(x, own)), train=train, key=key)
        if "outputs" in own:
            _check_one_array("output", output)
            # In half precision a mean of 3,000 would leave no digit of what the model has found.
            output = output.astype(jnp.promote_types(output.dtype, jnp.float32))
            output = _beside(own["outputs"]["mean"], output) + _beside(own["outputs"]["scale"], output) * output
        return output, {**rest, "scaling": own}

    return Model(init, apply)


def _in_half_like(params: Tree, x: Any) -> Any:
    """Inputs that were scaled in float32, in half precision where the parameters are."""
    kinds = [leaf.dtype for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    dtype = jnp.result_type(*kinds) if kinds else jnp.dtype(jnp.float32)
    return x.astype(dtype) if dtype.itemsize < 4 and jnp.issubdtype(x.dtype, jnp.floating) else x


def _check_one_array(name: str, value: Any) -> None:
    if not hasattr(value, "ndim"):
        raise TypeError(f"{name}: a scaled model expects one array, got {type(value).__name__}")


def _beside(value: Array, x: Array) -> Array:
    """``value`` with as many axes as ``x``, so that nothing is broadcast by accident."""
    return jnp.reshape(value, (1,) * (x.ndim - jnp.ndim(value)) + jnp.shape(value)).astype(x.dtype)


def from_nnx(constructor: Callable[[Any], Any]) -> Model:
    """The ``Model`` of a Flax NNX module, over plain dicts.

    The graph stays outside, and dropout and every other random stream are reseeded from the step's key: so the module
    can be traced, differentiated, scanned and mapped like any function.

    Args:
        constructor: Makes the module from its random streams: ``lambda rngs: Net(10, rngs=rngs)``. Its ``__call__`` is
            that of :func:`from_linen`; dropout and batch normalisation change their mode without an argument, too.

    Returns:
        The pair. ``params`` are the module's ``nnx.Param``; ``variables`` hold its other state (batch statistics),
        without that of random streams.

    Raises:
        TypeError: The constructor does not return an NNX module.
    """
    from flax import nnx

    def checked() -> Any:
        module = constructor(nnx.Rngs(0))
        if not isinstance(module, nnx.Module):
            raise TypeError(f"constructor: expected it to return an NNX module, got {type(module).__name__}")
        return module

    def abstract(train: bool) -> Any:
        settings = {"deterministic": not train, "use_running_average": not train}
        # Inside: a module's own streams draw a key where they are asked for a view.
        return nnx.eval_shape(lambda: nnx.view(checked(), **settings, raise_if_not_found=False))

    def split(module: Any) -> Any:
        return nnx.split(module, nnx.Param, nnx.RngState, ...)

    modules = {train: abstract(train) for train in (True, False)}
    graphs = {train: split(module)[0] for train, module in modules.items()}
    mode = _mode(type(modules[True]))
    _, *kinds = split(modules[True])
    params_like, streams_like, variables_like = map(nnx.to_pure_dict, kinds)

    def init(key: Key, x: Any) -> tuple[Tree, Tree]:
        del x  # an NNX module knows its shapes
        _, params, _, variables = split(constructor(nnx.Rngs(flat(key))))
        return _with_string_keys(nnx.to_pure_dict(params)), _with_string_keys(nnx.to_pure_dict(variables))

    def apply(params: Tree, variables: Tree, x: Any, *, train: bool, key: Key | None) -> tuple[Any, Tree]:
        streams = _seeded(streams_like, jax.random.key(0) if key is None else key)
        states = _with_keys_of(params_like, params), streams, _with_keys_of(variables_like, variables)
        module = nnx.merge(graphs[train], *states, copy=True)
        try:
            output = module(x, **mode(train))
        except TypeError as error:
            # Where Linen compares shapes with its parameters', NNX finds out in the product of the two.
            if "dot_general" not in str(error) and "conv_general" not in str(error):
                raise
            shapes = jax.tree.map(lambda leaf: leaf.shape[1:], x)
            raise ValueError(
                f"x: examples of shape {shapes} do not fit the parameters of this model. {error}"
            ) from error
        return output, _with_string_keys(nnx.to_pure_dict(split(module)[3])) if train else variables

    return Model(init, apply)


def _with_string_keys(tree: Tree) -> Tree:
    """Lists of modules have integer keys, which a file of named arrays cannot hold."""
    return {str(name): _with_string_keys(value) for name, value in tree.items()} if isinstance(tree, Mapping) else tree


def _with_keys_of(like: Tree, tree: Tree) -> Tree:
    """The inverse of ``_with_string_keys``."""
    return (
        {name: _with_keys_of(value, tree[str(name)]) for name, value in like.items()}
        if isinstance(like, Mapping)
        else tree
    )


def _seeded(streams: Tree, key: Key) -> Tree:
    """The state of random streams as if they had just been made: keys drawn from ``key``, counts at 0."""
    leaves, structure = jax.tree.flatten(streams)

    def fresh(i: int, like: Any) -> Array:
        if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
            return jax.random.split(jax.random.fold_in(key, i), like.shape)
        return jnp.zeros(like.shape, like.dtype)

    return jax.tree.unflatten(structure, [fresh(i, like) for i, like in enumerate(leaves)])
