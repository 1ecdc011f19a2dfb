"""The instructions of a compiled program, as its text tells: what each does, and which layer it comes from."""

import re
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["Instruction", "instructions"]

COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) (?:\(.*)?\{$")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = .*?\s([a-z][a-z0-9\-]*)\(")
CALLED = re.compile(r"(?:calls|to_apply)=%?([\w.\-]+)")
SCOPE = re.compile(r'op_name="([^"]*)"')

# The kind of an instruction by what it, or what was fused into it, contains; the first that fits.
KINDS: dict[str, tuple[str, ...]] = {
    "convolution": ("convolution",),
    "matrix product": ("dot", "triangular-solve", "cholesky"),
    "communication": ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute"),
    "sort": ("sort", "topk"),
    "gather and scatter": ("gather", "scatter"),
    "random numbers": ("rng-bit-generator", "rng"),
    "reduction": ("reduce", "reduce-window", "select-and-scatter"),
}
MOVES = {
    "bitcast", "broadcast", "concatenate", "constant", "copy", "dynamic-slice", "dynamic-update-slice",
    "get-tuple-element", "iota", "pad", "parameter", "reshape", "reverse", "slice", "transpose", "tuple",
}  # fmt: skip
# Names in a scope that are no layers: loops, branches and calls.
PASSED = {
    "checkpoint", "closed_call", "custom_jvp_call", "custom_vjp_call", "pjit", "remat", "rematted_computation", "scan",
    "shard_map", "while",
}  # fmt: skip


class Instruction(NamedTuple):
    """What is known of an instruction.

    Attributes:
        opcode: What XLA calls it, such as ``fusion``.
        kind: What it does: one of the keys of ``KINDS``, ``copy and layout``, ``element by element``, or ``other``.
        layer: Where in the model it comes from, or in brackets what else it is for.
        part: ``forward``, ``backward``, or ``""``.
    """

    opcode: str
    kind: str
    layer: str
    part: str


def instructions(text: str) -> dict[str, Instruction]:
    """The instructions of a program by name.

    Args:
        text: As ``jax.jit(f).lower(…).compile().as_text()`` gives it.
    """
    inside: dict[str, list[tuple[str, str, str, str]]] = {}
    current: list[tuple[str, str, str, str]] = []
    for line in text.splitlines():
        if start := COMPUTATION.match(line):
            current = inside.setdefault(start[1], [])
        elif found := INSTRUCTION.match(line):
            called, scope = CALLED.search(line), SCOPE.search(line)
            current.append((found[1], found[2], called[1] if called else "", scope[1] if scope else ""))
    return {
        name: Instruction(opcode, _kind(opcode, called, inside, name), *_origin(scope or _first(called, inside)))
        for part in inside.values()
        for name, opcode, called, scope in part
    }


def _kind(opcode: str, called: str, inside: Mapping[str, list[tuple[str, str, str, str]]], name: str) -> str:
    opcodes = {own for _, own, _, _ in inside.get(called, ())} if opcode == "fusion" else {opcode}
    if opcode == "custom-call":  # a library's; JAX's name for the operation is in that of the instruction
        return "convolution" if "conv" in name else "matrix product" if re.search("dot|gemm|matmul", name) else "other"
    for kind, members in KINDS.items():
        if any(own == member or own.startswith(f"{member}-") for own in opcodes for member in members):
            return kind
    return "copy and layout" if opcodes <= MOVES else "element by element"


def _first(called: str, inside: Mapping[str, list[tuple[str, str, str, str]]]) -> str:
    """The scope of the first instruction that has one."""
    return next((scope for *_, scope in inside.get(called, ()) if scope), "")


def _origin(scope: str) -> tuple[str, str]:
    """Layer and part of a scope such as ``jit(run)/while/body/transpose(jvp(CNN))/conv_0/dot_general``."""
    names = scope.split("/")
    part = "backward" if "transpose(" in scope else "forward" if "jvp(" in scope else ""
    if not part:
        return "(optimizer, batch, metrics)" if scope else "(unnamed)", ""
    place = next(i for i, name in enumerate(names) if "jvp(" in name or "transpose(" in name)
    root = "" if "jit(" in names[place] else re.sub(r"^.*\(|\)+$", "", names[place])
    layers = [names[i] for i in range(place + 1, len(names) - 1) if _is_layer(names[i], names[i - 1])]
    return "/".join(layers) or (f"({root})" if root else "(loss)"), part


def _is_layer(name: str, before: str) -> bool:
    # A method's scope is ``CNN._pooled``, a transformation's ``jit(relu)``.
    if name in PASSED or re.search(r"[.(]|^branch_\d", name):
        return False
    return not (before == "while" and name in ("body", "cond"))
