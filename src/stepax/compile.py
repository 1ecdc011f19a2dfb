"""The only place that compiles for the user: options by backend, persistent cache, one program for one shape."""

import os
import pathlib
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import jax

from stepax.files import cache_dir
from stepax.typing import Tree

__all__ = ["Concurrent", "Program", "cache_folder", "compile_seconds", "cores", "jit", "options", "signature"]

# Tried one by one on each backend; a version of XLA that refuses one goes without it.
CANDIDATES: dict[str, dict[str, Any]] = {
    # YNN's convolutions and matrix products are slower than Eigen's on a CPU, most of all small ones in a loop; its
    # reductions are left to it.
    "cpu": {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"},
}

# What a thread may set for itself, and programs differ by.
THREADS_OWN = ("jax_enable_x64", "jax_default_matmul_precision", "jax_debug_nans")

_seconds = 0.0


def compile_seconds() -> float:
    """The seconds that this process has spent on compiling so far, loading from the cache included."""
    return _seconds


def _count(event: str, duration_secs: float, **kwargs: Any) -> None:
    global _seconds
    if event in ("/jax/core/compile/jaxpr_to_mlir_module_duration", "/jax/core/compile/backend_compile_duration"):
        _seconds += duration_secs


jax.monitoring.register_event_duration_secs_listener(_count)


@cache
def options(backend: str) -> dict[str, Any]:
    """The compiler options for a backend, each probed once on a trivial program."""

    def accepted(name: str, value: Any) -> bool:
        place = jax.device_put(0.0, jax.local_devices(backend=backend)[0])
        try:
            jax.jit(lambda x: x + 1, compiler_options={name: value}).lower(place).compile()
        except Exception:  # the compiler's own error types differ between versions
            return False
        return True

    return {name: value for name, value in CANDIDATES.get(backend, {}).items() if accepted(name, value)}


def cache_folder() -> pathlib.Path:
    """Where compiled programs are kept between runs: ``compiled`` in :func:`stepax.data.cache_dir`."""
    return cache_dir() / "compiled"


@cache
def _enable_cache() -> None:
    """Turns the persistent cache on, once, unless the user has chosen a folder or switched it off."""
    config: Any = jax.config
    if config.jax_compilation_cache_dir is None and config.jax_enable_compilation_cache:
        jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
        # The defaults keep only programs of a second and more; ours are many and small.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def jit(function: Callable, *, donate: Sequence[int] = ()) -> Any:
    """``jax.jit`` with the backend's options and the persistent cache; it compiles anew for new shapes.

    Args:
        function: A pure function.
        donate: Positions of arguments whose memory the result may take over.

    Returns:
        The compiled function.
    """
    _enable_cache()
    return jax.jit(function, donate_argnums=tuple(donate), compiler_options=options(jax.default_backend()) or None)


def cores() -> int:
    """How many cores programs may use on a CPU: those of the process, or ``NPROC``, which XLA reads too.

    On another backend 1: programs take turns on the device.
    """
    if jax.default_backend() != "cpu":
        return 1
    given = os.environ.get("NPROC", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Concurrent:
    """A function that runs for several arguments at once, each in a thread of its own.

    A program whose arrays are small keeps one core of a CPU busy, and waits for the others more than they help; as many
    programs as there are cores keep all of them busy.
    """

    def __init__(self, function: Callable, *, donate: Sequence[int] = ()) -> None:
        self._function = jit(function, donate=donate)
        self._compiled: dict[Hashable, Any] = {}

    def __call__(self, calls: Sequence[tuple]) -> list[Any]:
        """The results for the arguments of each call, all of the same shapes; compiles anew for others.

        What is traced, or lies on several devices, whose programs have to agree on an order, is called in turn.
        """
        leaves = jax.tree.leaves(calls)
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
        devices = {leaf.sharding for leaf in leaves if isinstance(leaf, jax.Array) and not traced}
        if len(calls) == 1 or traced or any(len(sharding.device_set) > 1 for sharding in devices):
            return [self._function(*arguments) for arguments in calls]
        # Arrays and the program are made here: what is set in this thread alone, such as float64, is not set in others.
        calls = jax.device_put(list(calls))
        places = tuple(leaf.sharding for leaf in jax.tree.leaves(calls[0]))
        kind = signature(calls[0]), places, *(getattr(jax.config, name) for name in THREADS_OWN)
        if kind not in self._compiled:
            self._compiled[kind] = self._function.trace(*calls[0]).lower().compile()
        program = self._compiled[kind]
        with ThreadPoolExecutor(len(calls)) as threads:
            return list(threads.map(lambda arguments: jax.block_until_ready(program(*arguments)), calls))


class Program:
    """A function compiled once, for the shapes of its first call.

    Other shapes later are an error, not a silent second compile.
    """

    def __init__(self, function: Callable, *, donate: Sequence[int] = ()) -> None:
        self._function = jit(function, donate=donate)
        self._compiled: Any = None
        self._shapes: Tree = None

    def __call__(self, *arguments: Any) -> Any:
        """Runs the program, compiling it first if this is its first call.

        Raises:
            ValueError: An argument has another structure, shape or dtype than at the first call; the message names it.
        """
        if self._compiled is None:
            self.compile(*arguments)
        try:
            return self._compiled(*arguments)
        except TypeError as error:
            changes = list(_changes(self._shapes, _shapes(arguments)))
            if not changes:
                raise
            raise ValueError(
                "a compiled program was called with other shapes than before: " + "; ".join(changes)
            ) from error

    def compile(self, *arguments: Any) -> None:
        """Compiles for these arguments (arrays or their shapes)."""
        global _seconds
        start = time.perf_counter()
        traced = self._function.trace(*arguments)
        # What follows reports its time by itself.
        _seconds += time.perf_counter() - start
        self._compiled = traced.lower().compile()
        self._shapes = _shapes(arguments)

    def memory(self) -> int | None:
        """Bytes that one call needs on a device, as the compiler estimates; ``None`` where it does not say.

        They are those of arguments, result and temporaries; donated ones count once.
        """
        analysis = self._compiled.memory_analysis() if self._compiled is not None else None
        if analysis is None:
            return None
        return (
            analysis.argument_size_in_bytes
            + analysis.output_size_in_bytes
            + analysis.temp_size_in_bytes
            - analysis.alias_size_in_bytes
        )


def signature(tree: Tree) -> Hashable:
    """Structure, shapes and dtypes of a tree, to be compared: two trees of one signature share compiled programs."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple(jax.typeof(leaf) for leaf in leaves)


def _shapes(tree: Tree) -> dict[str, str]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): jax.typeof(leaf).str_short() for path, leaf in leaves}


def _changes(before: dict[str, str], after: dict[str, str]) -> Any:
    for path in sorted({*before, *after}):
        if before.get(path) != after.get(path):
            yield f"argument {path}: was {before.get(path, 'absent')}, is {after.get(path, 'absent')}"
