"""Transformers are PyTorch's; no token sees a later one; what is masked is as if removed; reading goes on in parts."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tests.nn.test_block import names
from tests.parameters import drawn

import stepax as sx
from stepax.nn import positions

X = np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)
TOKENS = np.random.default_rng(0).integers(0, 11, size=(2, 6))
PAIRS = {"source": np.where(np.arange(6) < [[6], [4]], TOKENS % 10 + 1, 0), "target": TOKENS[:, :5] % 7}
POSITIONS = {"learned": positions.learned(), "sinusoidal": positions.sinusoidal(), "rotary": positions.rotary()}
STACKS = {"unrolled": sx.nn.unrolled(), "scanned": sx.nn.scanned()}
KINDS = [pytest.param(places, stack, id=f"{p}-{s}") for p, places in POSITIONS.items() for s, stack in STACKS.items()]
LEFT = np.arange(6) >= np.array([[0], [2]])
# On the left, on the right, and between.
MASK = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 1, 0]], bool)
THREE = np.random.default_rng(1).integers(0, 11, size=(3, 6))


def extended(module, variables, tokens, state, parts, mask=None):
    """The logits of tokens that are read in parts."""
    step = jax.jit(functools.partial(module.apply, variables, method="extend"))
    outputs, at = [], 0
    for time in parts:
        part = slice(at, at + time)
        logits, state = step(tokens[:, part], state, None if mask is None else mask[:, part])
        outputs.append(logits)
        at += time
    return jnp.concatenate(outputs, 1), state


# What no later token changes, and what is not there.


def test_the_decoder_sees_no_later_token():
    decoder = sx.nn.Decoder(11, 8, 2, 2, 6)
    variables = drawn(decoder, TOKENS)
    logits = decoder.apply(variables, TOKENS)
    assert logits.shape == (2, 6, 11)
    changed = TOKENS.copy()
    changed[:, 3] = (changed[:, 3] + 1) % 11
    other = decoder.apply(variables, changed)
    np.testing.assert_array_equal(logits[:, :3], other[:, :3])
    assert (np.abs(logits - other)[:, 3:].max(-1) > 1e-4).all()


def test_the_transformers_target_sees_no_later_token_and_all_of_the_source():
    model = sx.nn.Transformer(11, 7, 8, 1, 2, 6)
    variables = drawn(model, PAIRS)
    logits = model.apply(variables, PAIRS)
    assert logits.shape == (2, 5, 7)
    target = PAIRS["target"].copy()
    target[:, 3] = (target[:, 3] + 1) % 7
    other = model.apply(variables, {**PAIRS, "target": target})
    np.testing.assert_array_equal(logits[:, :3], other[:, :3])
    assert (np.abs(logits - other)[:, 3:].max(-1) > 1e-4).all()
    source = PAIRS["source"].copy()
    source[:, 3] = source[:, 3] % 10 + 1
    assert (np.abs(logits - model.apply(variables, {**PAIRS, "source": source})).max(-1) > 1e-4).all()


@pytest.mark.parametrize("kind", [sx.nn.Decoder, sx.nn.Encoder])
@pytest.mark.parametrize("places", POSITIONS.values(), ids=POSITIONS)
def test_a_masked_token_is_as_if_removed(places, kind, x64):
    model = kind(11, 8, 2, 2, 6, positions=places)
    variables = drawn(model, THREE, dtype=np.float64)
    # What stands there may be no token at all.
    output = jax.jit(lambda x: model.apply(variables, x, mask=MASK))(np.where(MASK, THREE, 99))
    assert np.isfinite(output).all()
    for row in range(3):
        alone = jax.jit(model.apply)(variables, THREE[row : row + 1, MASK[row]])
        np.testing.assert_allclose(output[row, MASK[row]], alone[0], 1e-9, 1e-11)


def test_padding_of_the_source_is_as_if_removed(x64):
    model = sx.nn.Transformer(11, 7, 8, 2, 2, 6)
    variables = drawn(model, PAIRS, dtype=np.float64)
    logits = model.apply(variables, PAIRS)
    short = {"source": PAIRS["source"][1:, :4], "target": PAIRS["target"][1:]}
    np.testing.assert_allclose(logits[1], model.apply(variables, short)[0], 1e-9, 1e-11)
    # Not so if there is none.
    every = model.clone(padding=None)
    assert not np.allclose(every.apply(variables, PAIRS)[1], logits[1])


def test_sequences_without_anything_real_give_finite_numbers_and_gradients():
    mask = np.array([[1] * 6, [0] * 6], bool)
    cases = [
        (sx.nn.Decoder(11, 8, 1, 2, 6), TOKENS, {"mask": mask}),
        (sx.nn.Encoder(11, 8, 1, 2, 6), TOKENS, {"mask": mask}),
        (sx.nn.Transformer(11, 7, 8, 1, 2, 6), {**PAIRS, "source": PAIRS["source"] * mask}, {}),
    ]
    for model, x, settings in cases:
        variables = drawn(model, x)

        def loss(variables, model=model, x=x, settings=settings):
            output = model.apply(variables, x, **settings)
            return jnp.sin(output).sum(), output

        gradients, output = jax.jit(jax.grad(loss, has_aux=True))(variables)
        assert np.isfinite(output).all()
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_a_shorter_sequence_gives_the_same_logits():
    decoder = sx.nn.Decoder(11, 8, 1, 2, 6)
    variables = drawn(decoder, TOKENS)
    short = decoder.apply(variables, TOKENS[:, :4])
    np.testing.assert_allclose(short, decoder.apply(variables, TOKENS)[:, :4], 1e-5, 1e-5)


# Reading in parts.


@pytest.mark.parametrize(("places", "stack"), KINDS)
def test_reading_in_parts_equals_reading_at_once(places, stack, x64):
    decoder = sx.nn.Decoder(11, 8, 2, 2, 7, positions=places, stack=stack)
    variables = drawn(decoder, TOKENS, dtype=np.float64)
    whole = jax.jit(decoder.apply)(variables, TOKENS)
    for parts in ((1,) * 6, (4, 1, 1)):
        logits, state = extended(decoder, variables, TOKENS, decoder.start(2), parts)
        np.testing.assert_allclose(logits, whole, 1e-10, 1e-11)
    assert state.length == 6
    assert jax.eval_shape(lambda: state) == jax.eval_shape(lambda: decoder.start(2))
    # Prompts of several lengths, each as if it were alone.
    logits, _ = extended(decoder, variables, np.where(LEFT, TOKENS, 0), decoder.start(2), (4, 1, 1), LEFT)
    alone = jax.jit(decoder.apply)(variables, TOKENS[1:, 2:])
    np.testing.assert_allclose(logits[0], whole[0], 1e-10, 1e-11)
    np.testing.assert_allclose(logits[1, 2:], alone[0], 1e-10, 1e-11)


@pytest.mark.parametrize(("places", "stack"), KINDS)
def test_the_transformer_writes_in_parts_what_it_computes_at_once(places, stack, x64):
    model = sx.nn.Transformer(11, 7, 8, 2, 2, 6, positions=places, stack=stack)
    variables = drawn(model, PAIRS, dtype=np.float64)
    state = jax.jit(functools.partial(model.apply, variables, method="encode"))(PAIRS["source"])
    logits, after = extended(model, variables, PAIRS["target"], state, (2, 1, 1, 1))
    np.testing.assert_allclose(logits, jax.jit(model.apply)(variables, PAIRS), 1e-10, 1e-11)
    assert jax.eval_shape(lambda: after) == jax.eval_shape(lambda: state)


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_a_states_rows_can_be_told_and_chosen(stack):
    model = sx.nn.Transformer(11, 7, 8, 2, 2, 6, stack=stack)
    variables = drawn(model, PAIRS)

    @jax.jit
    def encoded(source):
        return model.apply(variables, source, method="encode")

    def axis(one, two):
        return next((i for i, (a, b) in enumerate(zip(one.shape, two.shape, strict=True)) if a != b), None)

    def turned(leaf, one, two):
        i = axis(one, two)
        return leaf if i is None else jnp.flip(leaf, i)

    extend = jax.jit(functools.partial(model.apply, variables, method="extend"))
    shapes = [jax.eval_shape(encoded, jnp.zeros((rows, 6), int)) for rows in (1, 2)]
    _, state = extend(PAIRS["target"][:, :1], encoded(PAIRS["source"]))
    one, _ = extend(PAIRS["target"][:, 1:2], state)
    other, _ = extend(PAIRS["target"][::-1, 1:2], jax.tree.map(turned, state, *shapes))
    np.testing.assert_allclose(one, other[::-1], 1e-6, 1e-6)


def test_reading_is_the_body_of_a_loop():
    decoder = sx.nn.Decoder(11, 8, 2, 2, 6)
    variables = drawn(decoder, TOKENS)

    def step(state, tokens):
        logits, state = decoder.apply(variables, tokens[:, None], state, method="extend")
        return state, logits[:, 0]

    _, logits = jax.jit(lambda tokens: jax.lax.scan(step, decoder.start(2), tokens.T))(jnp.asarray(TOKENS))
    np.testing.assert_allclose(np.moveaxis(logits, 0, 1), decoder.apply(variables, TOKENS), 1e-5, 1e-5)


@pytest.mark.parametrize(("room", "error"), [(0, ValueError), (2.5, TypeError), (7, ValueError)])
def test_a_room_is_at_most_the_context(room, error):
    decoder = sx.nn.Decoder(11, 8, 1, 2, 6)
    assert decoder.start(2, room=6).real.shape == decoder.start(2).real.shape == (2, 6)
    with pytest.raises(error, match="room: expected"):
        decoder.start(2, room=room)


def test_a_smaller_room_holds_the_beginning_of_the_same_text():
    decoder = sx.nn.Decoder(11, 8, 1, 2, 6)
    variables = drawn(decoder, TOKENS)
    for room in (3, 6):
        logits, state = decoder.apply(variables, TOKENS[:, :3], decoder.start(2, room=room), method="extend")
        np.testing.assert_allclose(logits, decoder.apply(variables, TOKENS[:, :3]), 1e-5, 1e-5)
        assert state.real.shape == (2, room)


def test_beyond_the_context_is_an_error_or_where_nobody_looks_nan():
    decoder = sx.nn.Decoder(11, 8, 1, 2, 6)
    variables = drawn(decoder, TOKENS)
    _, state = decoder.apply(variables, TOKENS[:, :5], decoder.start(2), method="extend")
    with pytest.raises(ValueError, match=r"tokens: the state holds 5 of at most 6 tokens \(the context\), and has no"):
        decoder.apply(variables, TOKENS[:, :2], state, method="extend")
    with pytest.raises(ValueError, match=r"at most 6 steps \(the context\), got \(2, 7\)"):
        decoder.apply(variables, np.zeros((2, 7), int), decoder.start(2), method="extend")
    with pytest.raises(ValueError, match="state: expected one of a batch of 1 and a context of 6, got"):
        decoder.apply(variables, TOKENS[:1, :1], state, method="extend")
    extend = jax.jit(functools.partial(decoder.apply, variables, method="extend"))
    logits, state = extend(TOKENS[:, :1], state)
    assert np.isfinite(logits).all()
    for _ in range(2):
        logits, state = extend(TOKENS[:, :1], state)
        assert np.isnan(logits).all()


# PyTorch.


def test_the_whole_is_pytorchs(torch):
    model = sx.nn.Transformer(11, 7, 8, 2, 2, 6, residual=sx.nn.post_norm, activation=jax.nn.relu)
    params = drawn(model, PAIRS)["params"]
    theirs = torch.nn.Transformer(8, 2, 2, 2, 32, 0.0, batch_first=True).train()
    values = {}
    for side in ("encoder", "decoder"):
        for i in range(2):
            layer = names(params[side][f"block_{i}"])
            values |= {f"{side}.layers.{i}.{name}": value for name, value in layer.items()}
        values[f"{side}.norm.weight"] = params[side]["norm"]["scale"]
        values[f"{side}.norm.bias"] = params[side]["norm"]["bias"]
    theirs.load_state_dict({name: torch.tensor(np.asarray(value).copy()) for name, value in values.items()})

    def embedded(side, tokens):
        own = params[side]
        return torch.tensor(np.asarray(own["tokens"][tokens] + own["places"][None, : tokens.shape[1]]))

    hidden = torch.tensor(PAIRS["source"] == 0)
    y = theirs(
        embedded("encoder", PAIRS["source"]), embedded("decoder", PAIRS["target"]),
        tgt_mask=torch.triu(torch.ones(5, 5, dtype=torch.bool), 1),
        src_key_padding_mask=hidden, memory_key_padding_mask=hidden,
    )  # fmt: skip
    logits = y.detach().numpy() @ np.asarray(params["decoder"]["head"]["kernel"])
    np.testing.assert_allclose(model.apply({"params": params}, PAIRS), logits, 1e-5, 2e-5)


# In training, and elsewhere.


def test_dropout_only_in_training():
    for settings in ({"dropout": 0.5}, {"attention_dropout": 0.5}):
        decoder = sx.nn.Decoder(11, 8, 1, 2, 6, **settings)
        variables = drawn(decoder, TOKENS)
        runs = [decoder.apply(variables, TOKENS, True, rngs={"dropout": jax.random.key(i)}) for i in (0, 0, 1)]
        np.testing.assert_array_equal(runs[0], runs[1])
        assert not np.allclose(runs[0], runs[2])
        plain = sx.nn.Decoder(11, 8, 1, 2, 6).apply(variables, TOKENS)
        np.testing.assert_array_equal(decoder.apply(variables, TOKENS), plain)


def test_without_biases_and_with_tied_vectors_as_in_gpt(x64):
    decoder = sx.nn.Decoder(11, 8, 2, 2, 6, use_bias=False, tied=True)
    variables = drawn(decoder, TOKENS, dtype=np.float64)
    assert set(variables["params"]) == {"tokens", "places", "block_0", "block_1", "norm"}
    assert not any("bias" in str(path) for path, _ in jax.tree_util.tree_leaves_with_path(variables))
    params = dict(variables["params"])
    head = {"kernel": params["tokens"].T}
    same = sx.nn.Decoder(11, 8, 2, 2, 6, use_bias=False).apply({"params": {**params, "head": head}}, TOKENS)
    np.testing.assert_allclose(decoder.apply(variables, TOKENS), same, 1e-10)
    read, _ = decoder.apply(variables, TOKENS, decoder.start(2), method="extend")
    np.testing.assert_allclose(read, same, 1e-10)


def test_first_values_as_in_gpt():
    normal = jax.nn.initializers.normal
    decoder = sx.nn.Decoder(64, 64, 2, 4, 32, kernel_init=normal(0.02), residual_init=normal(0.01))
    params = decoder.init(jax.random.key(0), np.zeros((1, 4), int))["params"]
    block = params["block_1"]
    for kernel in (block["attention"]["qkv"], block["dense_in"], params["head"]):
        np.testing.assert_allclose(kernel["kernel"].std(), 0.02, 0.05)
    for kernel in (block["attention"]["out"], block["dense_out"]):
        np.testing.assert_allclose(kernel["kernel"].std(), 0.01, 0.05)
    np.testing.assert_allclose(params["tokens"].std(), 0.02, 0.05)


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_weights_can_be_looked_at(stack):
    """They are what the attention to the source multiplies its values by, in the layer that was asked for."""
    model = sx.nn.Transformer(11, 7, 8, 2, 2, 6, stack=stack)
    variables = drawn(model, PAIRS)

    @jax.jit
    def looked(variables):
        _, kept = model.apply(variables, PAIRS, mutable="attention")
        weights = [model.apply(variables, PAIRS, *layer, method="attention_weights") for layer in ((), (0,), (-2,))]
        return weights, kept["attention"]["encoder"], sx.nn.feature_maps(model, variables, PAIRS)

    (last, first, also_first), encoder, maps = looked(variables)
    np.testing.assert_array_equal(first, also_first)
    assert {leaf.shape[-4:] for leaf in jax.tree.leaves(encoder)} == {(2, 2, 6, 6)}
    for i, weights in enumerate((first, last)):
        assert weights.shape == (2, 2, 5, 6)
        np.testing.assert_allclose(weights.sum(-1), 1, 1e-5)
        np.testing.assert_array_equal(weights[1, :, :, 4:], 0)
        name = "decoder/blocks/cross" if stack is STACKS["scanned"] else f"decoder/block_{i}/cross"
        params = variables["params"]
        for part in [*name.split("/"), "out"]:
            params = params[part]
        both, output, params = jax.tree.map(np.asarray, (maps[f"{name}/key_value"], maps[name], params))
        if "blocks" in name:
            both, output, params = jax.tree.map(lambda leaf, i=i: leaf[i], (both, output, params))
        mixed = np.einsum("bhts,bshw->bthw", weights, both[..., 8:].reshape(2, 6, 2, 4)).reshape(2, 5, 8)
        np.testing.assert_allclose(mixed @ params["kernel"] + params["bias"], output, 1e-4, 1e-5)


def test_layers_that_are_not_there_are_named():
    model = sx.nn.Transformer(11, 7, 8, 2, 2, 6)
    look = functools.partial(model.apply, drawn(model, PAIRS), PAIRS, method="attention_weights")
    with pytest.raises(ValueError, match="layer: expected one of the 2 layers, at most 1, got 2"):
        look(2)
    with pytest.raises(ValueError, match="layer: expected at least -2, got -3"):
        look(-3)
    with pytest.raises(TypeError, match="layer: expected a whole number"):
        look(None)


def test_both_sides_have_the_settings_of_the_whole():
    def settings(kind, first):
        fields = {field.name: field.default for field in dataclasses.fields(kind)}
        names = list(fields)[list(fields).index(first) :]
        return {name: fields[name] for name in names if name not in ("padding", "tied", "parent", "name")}

    assert settings(sx.nn.Transformer, "features") == settings(sx.nn.Encoder, "features")
    assert settings(sx.nn.Transformer, "features") == settings(sx.nn.Decoder, "features")


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=str)
def test_jit_vmap_and_half_precision(stack, dtype):
    model = sx.nn.Decoder(11, 8, 2, 2, 6, positions=positions.rotary(), stack=stack)
    exact = drawn(model, TOKENS)
    variables = jax.tree.map(lambda leaf: leaf.astype(dtype), exact)
    logits = jax.jit(model.apply)(variables, TOKENS)
    assert logits.dtype == dtype
    tolerance = 1e-4 if dtype == jnp.float32 else 0.5
    np.testing.assert_allclose(logits.astype(np.float32), model.apply(exact, TOKENS), 0, tolerance)
    lanes = jax.vmap(lambda tokens: model.apply(variables, tokens[None])[0])(jnp.asarray(TOKENS))
    np.testing.assert_allclose(lanes.astype(np.float32), logits.astype(np.float32), 0, tolerance)
    read, _ = model.apply(variables, TOKENS, model.start(2), method="extend")
    assert read.dtype == dtype
    np.testing.assert_allclose(read.astype(np.float32), logits.astype(np.float32), 0, tolerance)


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)
def test_reading_lowers_for_every_platform(stack):
    model = sx.nn.Transformer(11, 7, 8, 1, 2, 6, positions=positions.rotary(), stack=stack)
    variables = model.init(jax.random.key(0), PAIRS)

    def translated(variables, source, tokens):
        state = model.apply(variables, source, method="encode")
        return model.apply(variables, tokens, state, method="extend")

    arguments = variables, jnp.asarray(PAIRS["source"]), jnp.asarray(PAIRS["target"])
    exported = jax.export.export(jax.jit(translated), platforms=("cpu", "cuda", "tpu"))(*arguments)
    assert exported.platforms == ("cpu", "cuda", "tpu")


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        (sx.nn.Decoder(11, 8, 1, 2, 6, 0.1, stack=sx.nn.scanned(remat=True)), {"x": TOKENS, "y": TOKENS}),
        (sx.nn.Transformer(11, 7, 8, 1, 2, 6, 0.1), {"x": PAIRS, "y": PAIRS["target"]}),
    ],
    ids=["decoder", "transformer"],
)
def test_each_learns(model, batch):
    learner = sx.supervised(model, sx.losses.cross_entropy, optax.adam(0.03))
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    first = learner.evaluate(state, batch, jax.random.key(1))["loss"]
    step = jax.jit(learner.step)
    for _ in range(30):
        state, _ = step(state, batch)
    assert learner.evaluate(state, batch, jax.random.key(1))["loss"] < 0.7 * first


# What is refused.


def test_tokens_outside_of_the_vocabulary():
    decoder = sx.nn.Decoder(11, 8, 1, 2, 6)
    variables = drawn(decoder, TOKENS)
    wrong = TOKENS.copy()
    wrong[0, 2] = 11
    with pytest.raises(ValueError, match=r"tokens: expected tokens from 0 to 10 \(the vocabulary\), got 11"):
        decoder.apply(variables, wrong)
    with pytest.raises(ValueError, match=r"tokens: expected tokens from 0 to 10 \(the vocabulary\), got -1"):
        decoder.apply(variables, np.where(TOKENS[0, 0] == TOKENS, -1, TOKENS), decoder.start(2), method="extend")
    model = sx.nn.Transformer(11, 7, 8, 1, 2, 6)
    with pytest.raises(ValueError, match=r"target: expected tokens from 0 to 6 \(the vocabulary\), got"):
        model.init(jax.random.key(0), {**PAIRS, "target": PAIRS["target"] + 7})
    logits = jax.jit(decoder.apply)(variables, wrong)
    assert np.isnan(logits[0]).all()
    assert np.isfinite(logits[1]).all()
    # Not where nothing is real.
    mask = np.ones((2, 6), bool)
    mask[0, 2] = False
    assert np.isfinite(decoder.apply(variables, wrong, mask=mask)).all()


@pytest.mark.parametrize(
    ("module", "x", "error", "message"),
    [
        (sx.nn.Decoder(0), TOKENS, ValueError, "vocabulary: expected at least 1, got 0"),
        (sx.nn.Decoder(None), TOKENS, TypeError, "vocabulary: expected a whole number, got NoneType"),
        (sx.nn.Decoder(11, 0), TOKENS, ValueError, "features: expected at least 1, got 0"),
        (sx.nn.Decoder(11, 8, heads=3), TOKENS, ValueError, "heads: 3 heads do not divide a width of 8"),
        (sx.nn.Decoder(11, layers=-1), TOKENS, ValueError, "layers: expected at least 0, got -1"),
        (sx.nn.Decoder(11, heads=0), TOKENS, ValueError, "heads: expected at least 1, got 0"),
        (sx.nn.Decoder(11, context=0), TOKENS, ValueError, "context: expected at least 1, got 0"),
        (
            sx.nn.Decoder(11, context=5),
            TOKENS,
            ValueError,
            r"tokens: expected \[batch, time\] with at most 5 steps",
        ),
        (sx.nn.Decoder(11, dropout=1.5), TOKENS, ValueError, r"^dropout: expected a number in \[0, 1\), got 1\.5"),
        (
            sx.nn.Decoder(11, attention_dropout=-1),
            TOKENS,
            ValueError,
            r"^attention_dropout: expected a number in \[0, 1\)",
        ),
        (sx.nn.Decoder(11, positions="rotary"), TOKENS, TypeError, "positions: expected Positions such as"),
        (sx.nn.Decoder(11, stack=sx.nn.scanned), TOKENS, TypeError, "stack: expected a Stack such as scanned"),
        (sx.nn.Decoder(11), np.int32(1), ValueError, r"tokens: expected \[batch, time\]"),
        (sx.nn.Decoder(11), X[..., 0], TypeError, "tokens: expected whole numbers, got float32"),
        (sx.nn.Transformer(11, 7), TOKENS, TypeError, 'x: expected a dict with "source" and "target", got ndarray'),
        (sx.nn.Transformer(0, 7), PAIRS, ValueError, "^source: expected at least 1, got 0"),
        (sx.nn.Transformer(11, 0), PAIRS, ValueError, "^target: expected at least 1, got 0"),
        (
            sx.nn.Transformer(11, 7),
            {"source": PAIRS["source"], "target": PAIRS["target"][:1]},
            ValueError,
            "^x: 2 sources, but 1 targets: expected as many",
        ),
        (sx.nn.Transformer(11, 7), {"source": TOKENS}, TypeError, r"got \['source'\]"),
        (
            sx.nn.Transformer(11, 7, context=5),
            PAIRS,
            ValueError,
            r"source: expected \[batch, time\] with at most 5 steps",
        ),
    ],
)
def test_what_makes_no_network_is_named(module, x, error, message):
    with pytest.raises(error, match=message):
        module.init(jax.random.key(0), x)


def test_bad_masks_are_named():
    decoder = sx.nn.Decoder(11, 8, 1, 2, 6)
    with pytest.raises(ValueError, match=r"mask: expected the shape \[batch, time\] = \(2, 6\), got \(2, 5\)"):
        decoder.init(jax.random.key(0), TOKENS, mask=LEFT[:, :5])
    with pytest.raises(TypeError, match="mask: expected booleans"):
        decoder.init(jax.random.key(0), TOKENS, mask=LEFT.astype(np.float32))


@pytest.mark.parametrize(("batch", "time"), [(0, 6), (2, 0)])
def test_no_sequences_and_no_steps(batch, time):
    decoder = sx.nn.Decoder(11, 8, 1, 2, 6)
    variables = drawn(decoder, TOKENS)

    def loss(variables):
        logits = decoder.apply(variables, TOKENS[:batch, :time])
        return logits.sum(), logits

    gradient, logits = jax.jit(jax.grad(loss, has_aux=True))(variables)
    assert logits.shape == (batch, time, 11)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient))
    read, _ = decoder.apply(variables, TOKENS[:batch, :time], decoder.start(batch), method="extend")
    assert read.shape == (batch, time, 11)


@pytest.mark.parametrize("stack", [sx.nn.unrolled(), sx.nn.scanned()], ids=["unrolled", "scanned"])
def test_no_layers_read_on(stack):
    decoder = sx.nn.Decoder(11, 8, 0, 2, 6, stack=stack)
    variables = drawn(decoder, TOKENS)
    logits, state = decoder.apply(variables, TOKENS[:, :4], decoder.start(2), method="extend")
    more, last = decoder.apply(variables, TOKENS[:, 4:], state, method="extend")
    assert jax.tree.structure(last) == jax.tree.structure(decoder.start(2))
    np.testing.assert_allclose(jnp.concatenate([logits, more], 1), decoder.apply(variables, TOKENS), 1e-5, 1e-5)
    both = sx.nn.Transformer(11, 7, 8, 0, 2, 6, stack=stack)
    variables = drawn(both, PAIRS)
    state = both.apply(variables, PAIRS["source"], method="encode")
    read, _ = both.apply(variables, PAIRS["target"], state, method="extend")
    np.testing.assert_allclose(read, both.apply(variables, PAIRS), 1e-5, 1e-5)


@pytest.mark.parametrize("kind", [positions.learned, positions.sinusoidal, positions.rotary])
def test_half_precision_stays_half(kind):
    decoder = sx.nn.Decoder(11, 8, 1, 2, 6, positions=kind())
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), drawn(decoder, TOKENS))
    assert decoder.apply(half, TOKENS).dtype == jnp.bfloat16
    assert decoder.apply(half, TOKENS, decoder.start(2), method="extend")[0].dtype == jnp.bfloat16
