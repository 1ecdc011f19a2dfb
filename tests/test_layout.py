"""The shape of the source, read from its syntax: which way imports run, who may do what, and how long things may be."""

import ast
import pathlib
from collections.abc import Callable, Collection, Iterator
from functools import cache
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SOURCE = ROOT / "src" / "stepax"
MODULES = sorted(path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py"))

DOMAINS = {"vision", "text", "series", "anomaly", "generative", "rl"}
# What is not named here is core, at 1. A module imports from its own layer and those below it.
LAYERS = (
    {"typing": 0, "nn": 2} | dict.fromkeys(DOMAINS, 3) | {"__init__": 4, "plot": 4, "cli": 5, "bench": 5, "__main__": 6}
)
CORE = 1

LINES = 400
METHOD_LINES = 300
FUNCTION_LINES = 80
VAGUE_NAMES = {"utils", "util", "common", "helpers", "misc", "manager"}
# Source without a test file of its own name: nothing in it runs.
NO_TESTS = {"typing.py"}


class Use(NamedTuple):
    """A name that a module imports, reads or calls, with the line where it does."""

    name: str
    line: int


def part(module: str) -> str:
    """The first name below the package: ``nn/mlp.py`` is part of ``nn``."""
    return module.split("/")[0].removesuffix(".py")


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((SOURCE / module).read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[Use]:
    """Every imported name in full, lazy imports and relative ones too."""
    package = ["stepax", *module.split("/")[:-1]]
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            yield from (Use(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from (Use(f"{prefix}.{alias.name}", node.lineno) for alias in node.names)


def read(module: str) -> Iterator[Use]:
    """Every dotted name that the code reads: ``jax.jit``, ``open``; ``*.mkdir`` where its owner is an expression."""
    inner = {id(node.value) for node in ast.walk(tree(module)) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in inner:
            names, value = [], node
            while isinstance(value, ast.Attribute):
                names.append(value.attr)
                value = value.value
            names.append(value.id if isinstance(value, ast.Name) else "*")
            yield Use(".".join(reversed(names)), node.lineno)


def called(module: str) -> Iterator[Use]:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name):
                yield Use(function.id, node.lineno)
            elif isinstance(function, ast.Attribute):
                owner = function.value.id if isinstance(function.value, ast.Name) else "*"
                yield Use(f"{owner}.{function.attr}", node.lineno)


def is_from(*packages: str) -> Callable[[str], bool]:
    return lambda name: any(name == package or name.startswith(package + ".") for package in packages)


FILE_METHODS = {
    "mkdir",
    "open",
    "read_bytes",
    "read_text",
    "rename",
    "rmdir",
    "savefig",
    "touch",
    "unlink",
    "write_bytes",
    "write_text",
}
NUMPY_FILES = {"fromfile", "genfromtxt", "load", "loadtxt", "save", "savetxt", "savez", "savez_compressed"}


def does_io(name: str) -> bool:
    """Also ``jax.debug.print``: a look inside, left behind."""
    owner, _, function = name.rpartition(".")
    if owner in {"np", "numpy", "jnp"}:
        return function in NUMPY_FILES
    return function in FILE_METHODS | {"print"} if owner else function in {"open", "print", "input"}


SHELL = {
    "cli", "plot", "record", "checkpoint", "saving", "data", "progress", "logs", "files", "bench",
    "weights", "safetensors", "deployment", "estimation",
}  # fmt: skip


class Rule(NamedTuple):
    """What matches may be used by the parts named in ``by``, and by no other."""

    name: str
    uses: Callable[[str], Iterator[Use]]
    matches: Callable[[str], bool]
    by: Collection[str] = ()


RULES = [
    Rule(
        "only nn, model, transfer, description, the domains and benchmarks know Flax",
        imported,
        is_from("flax"),
        {"nn", "model", "transfer", "description", "bench"} | DOMAINS,
    ),
    Rule("NNX makes modules, not loops", read, is_from("nnx.jit", "nnx.grad", "nnx.value_and_grad", "nnx.Optimizer")),
    Rule("only compile compiles", read, is_from("jax.jit", "jax.pmap"), {"compile", "bench"}),
    Rule("only compile compiles", imported, is_from("jax.jit", "jax.pmap"), {"compile", "bench"}),
    Rule(
        "no branch on the backend",
        read,
        is_from("jax.default_backend"),
        {"compile", "record", "arithmetic", "cli", "bench"},
    ),
    Rule("only the shell reads, writes and prints", called, does_io, SHELL),
    Rule("only the shell talks to a terminal", imported, is_from("rich", "tyro"), SHELL),
    Rule("domains are handed their data", imported, is_from("stepax.data"), {part(each) for each in MODULES} - DOMAINS),
    Rule("only plot and cli draw figures", imported, is_from("matplotlib"), {"plot", "cli", "bench"}),
    Rule("only checkpoint knows Orbax", imported, is_from("orbax"), {"checkpoint"}),
    Rule("only logs knows TensorBoard", imported, is_from("tensorboardX"), {"logs"}),
    Rule("no pickle", imported, is_from("pickle", "cloudpickle", "dill", "joblib", "shelve")),
    Rule("typed keys", read, is_from("jax.random.PRNGKey", "random.PRNGKey")),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name} ({rule.uses.__name__})")
def test_only_these_may(rule: Rule) -> None:
    faults = [
        f"src/stepax/{module}:{line}: {name}: {rule.name}"
        for module in MODULES
        if part(module) not in rule.by
        for name, line in rule.uses(module)
        if rule.matches(name)
    ]
    assert not faults, "\n".join(faults)


def arrow_fault(importer: str, imported_part: str) -> str | None:
    if importer == imported_part:
        return None
    if importer in DOMAINS and imported_part in DOMAINS:
        return "domains never import each other"
    if importer == "ops" and imported_part != "typing":
        return "ops stand on typing alone"
    if LAYERS.get(imported_part, CORE) > LAYERS.get(importer, CORE):
        return f"arrows run one way, and {imported_part} stands above {importer}"
    return None


def parts_imported(module: str) -> Iterator[Use]:
    """``from stepax import losses`` reaches the part ``losses``; ``from stepax import State`` reaches the whole."""
    parts = {part(other) for other in MODULES}
    for name, line in imported(module):
        if is_from("stepax")(name):
            below = name.split(".")[1] if "." in name else ""
            yield Use(below if below in parts else "__init__", line)


@pytest.mark.parametrize("module", MODULES)
def test_arrows_run_one_way(module: str) -> None:
    faults = [
        f"src/stepax/{module}:{line}: {fault}"
        for reached, line in parts_imported(module)
        if (fault := arrow_fault(part(module), reached))
    ]
    assert not faults, "\n".join(faults)


def lines_of_code(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Without the docstring, whose length is no burden."""
    body = function.body
    if ast.get_docstring(function, clean=False) is not None:
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 2 if body else 1


@pytest.mark.parametrize("module", MODULES)
def test_sizes(module: str) -> None:
    most = METHOD_LINES if part(module) in DOMAINS else LINES
    length = len((SOURCE / module).read_text(encoding="utf-8").splitlines())
    assert length <= most, f"src/stepax/{module}: {length} lines, {most} at most: what in it stands alone?"
    functions = [node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    faults = [
        f"src/stepax/{module}:{function.lineno}: {function.name} has {lines_of_code(function)} lines of code"
        for function in functions
        if lines_of_code(function) > FUNCTION_LINES
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("module", MODULES)
def test_names_say_what_is_inside(module: str) -> None:
    vague = VAGUE_NAMES & set(module.removesuffix(".py").split("/"))
    assert not vague, (
        f"src/stepax/{module}: a vague name; a helper lives with its only user until a second one needs it"
    )


@pytest.mark.parametrize(
    "module", [module for module in MODULES if not module.endswith(("__init__.py", "__main__.py"))]
)
def test_every_source_file_has_its_tests(module: str) -> None:
    path = pathlib.PurePosixPath(module)
    mirror = path.with_name(f"test_{path.name}")
    assert module in NO_TESTS or (ROOT / "tests" / mirror).is_file(), f"src/stepax/{module} has no tests/{mirror}"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from flax import linen", "flax.linen"),
        ("def f():\n    import flax.linen", "flax.linen"),
        ("from . import b", "stepax.nn.b"),
        ("from ..losses import mse", "stepax.losses.mse"),
    ],
)
def test_the_reader_sees_every_form_of_import(source: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "tree", lambda module: ast.parse(source))
    assert [use.name for use in imported("nn/a.py")] == [name]


@pytest.mark.parametrize(
    ("importer", "reached", "allowed"),
    [
        ("fit", "typing", True), ("fit", "losses", True), ("fit", "nn", False), ("typing", "losses", False),
        ("ops", "typing", True), ("ops", "checks", False), ("nn", "ops", True), ("nn", "vision", False),
        ("vision", "nn", True), ("vision", "text", False), ("vision", "__init__", False), ("__init__", "vision", True),
        ("cli", "vision", True), ("cli", "__init__", True), ("plot", "cli", False), ("bench", "__init__", True),
    ],
)  # fmt: skip
def test_the_arrows_themselves(importer: str, reached: str, allowed: bool) -> None:
    assert (arrow_fault(importer, reached) is None) == allowed
