"""What the text of compiled programs tells, and what is made of it."""

import jax
import jax.numpy as jnp
import pytest

from stepax.instructions import instructions

# A compiler's lines are long; a backslash goes on with one.
TEXT = """HloModule jit_run, is_scheduled=true

%fused_computation.5 (param_0: f32[4,3]) -> f32[3] {
  %param_0 = f32[4,3]{1,0} parameter(0)
  %constant.1 = f32[] constant(0)
  ROOT %reduce.9 = f32[3]{0} reduce(%param_0, %constant.1), dimensions={0}, to_apply=%add
}

%moved (param_0.1: f32[4,3]) -> f32[3,4] {
  ROOT %transpose.3 = f32[3,4]{1,0} transpose(%param_0.1), metadata={op_name="jit(run)/jvp(CNN)/a/transpose"}
}

ENTRY %main.7 (Arg_0.1: f32[4,3], Arg_1: (f32[], /*index=1*/f32[2])) -> f32[3] {
  %while.1 = (s32[], f32[4,3]{1,0}, /*index=2*/f32[2]{0:T(128)}) while(%tuple.1), condition=%c, body=%b
  %fusion.5 = f32[3]{0} fusion(%x), kind=kLoop, calls=%fused_computation.5, \
metadata={op_name="jit(run)/while/body/transpose(jvp(CNN))/CNN._pooled/norm_0/add" stack_frame_id=3}
  %copied = f32[3,4]{0,1} fusion(%x), kind=kLoop, calls=%moved
  %dot.2 = f32[4,4]{1,0} dot(%x, %y), \
metadata={op_name="jit(run)/while/body/jvp(_Last)/body/body._layer/while/body/closed_call/dot_general"}
  %custom-call.4 = (f32[4]{0}, s8[0]{0}) custom-call(%x), custom_call_target="__cublas$gemm", \
metadata={op_name="jit(run)/jvp()/dot"}
  %all-reduce-start.1 = f32[4]{0} all-reduce-start(%x), metadata={op_name="jit(run)/while/body/add"}
  ROOT %gemm_fusion = f32[4]{0} custom-call(%x), metadata={op_name="jit(run)/transpose(jvp(jit(log_softmax)))/sub"}
}
"""


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("while.1", ("while", "element by element", "(unnamed)", "")),
        ("fusion.5", ("fusion", "reduction", "norm_0", "backward")),
        ("copied", ("fusion", "copy and layout", "a", "forward")),
        ("dot.2", ("dot", "matrix product", "body", "forward")),
        ("custom-call.4", ("custom-call", "other", "(loss)", "forward")),
        ("all-reduce-start.1", ("all-reduce-start", "communication", "(optimizer, batch, metrics)", "")),
        ("gemm_fusion", ("custom-call", "matrix product", "(loss)", "backward")),
        ("reduce.9", ("reduce", "reduction", "(unnamed)", "")),
    ],
)
def test_opcode_kind_layer_and_part(name, known):
    assert instructions(TEXT)[name] == known


def test_a_compiled_program_is_read():
    def loss(w, x):
        with jax.named_scope("Net"), jax.named_scope("layer"):
            return jnp.square(jnp.sin(x @ w)).sum()

    shapes = jax.ShapeDtypeStruct((8, 8), jnp.float32), jax.ShapeDtypeStruct((8, 8), jnp.float32)
    found = instructions(jax.jit(jax.grad(loss)).lower(*shapes).compile().as_text()).values()
    products = {(known.layer, known.part) for known in found if known.kind == "matrix product"}
    assert products >= {("layer", "forward"), ("layer", "backward")}
