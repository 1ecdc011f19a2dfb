"""The ground under every test: several CPU devices, no silent broadcasting, programs kept between runs.

What JAX and the thread pools read when they start is set here, before anything imports them.
"""

import gc
import importlib.metadata
import itertools
import os
import pathlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
THREADS = str(max(1, CORES // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))
for _name in ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):  # NPROC: the thread pool of XLA
    os.environ.setdefault(_name, THREADS)
os.environ.setdefault("MPLBACKEND", "Agg")
# Most of the tests' time is compiling: without optimized machine code, and by the simpler of two emitters where there
# are two, it takes about half. What the caller sets comes last and wins: users' programs are compiled with
# XLA_FLAGS="--xla_cpu_use_fusion_emitters=true --xla_backend_optimization_level=3".
_flags = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
if importlib.metadata.version("jaxlib").startswith("0.10."):
    _flags.append("--xla_cpu_use_fusion_emitters=false")  # later versions have one emitter, and end at the flag
os.environ["XLA_FLAGS"] = " ".join([*_flags, os.environ.get("XLA_FLAGS", "")]).strip()

import jax  # noqa: E402
import pytest  # noqa: E402
from jax._src.interpreters import mlir  # noqa: E402

DEVICES = 8
FILES = itertools.count(1)
CACHE = os.environ.get("STEPAX_TEST_CACHE") or pathlib.Path(__file__).parents[1] / ".cache" / "jax"

jax.config.update("jax_num_cpu_devices", DEVICES)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _of_many_programs(make: Callable[[], Any], most: int = 200) -> Callable[[], Any]:
    """The context that a program is written in, for so many programs rather than one: making it is a fifth of the time.

    What a context has seen stays in it, so that it is renewed.
    """
    count, held = itertools.count(), []

    def kept() -> Any:
        if next(count) % most == 0:
            held[:] = [make()]
        return held[0]

    return kept


if hasattr(mlir, "make_ir_context"):  # JAX's own, and not public: without it the tests take longer, and no more
    mlir.make_ir_context = _of_many_programs(mlir.make_ir_context)


def pytest_collection_finish() -> None:
    """Looks for garbage less often, and not in what stays: else it takes a sixteenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="module", autouse=True)
def programs_of_few_files() -> Iterator[None]:
    """Forgets compiled programs after every twentieth file, so that not those of all tests are held."""
    yield
    if next(FILES) % 20 == 0:
        jax.clear_caches()


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """The folder with the data sets that tests read but the repository does not hold."""
    folder = os.environ.get("STEPAX_DATA")
    if not folder:
        pytest.skip("STEPAX_DATA is not set: it names the folder with the data sets (`make test` finds ../shared/data)")
    if not pathlib.Path(folder).is_dir():
        pytest.fail(f"STEPAX_DATA: no such folder: {folder}")
    return pathlib.Path(folder)


@pytest.fixture(scope="session")
def torch() -> ModuleType:
    """PyTorch, the reference that many numbers are held against."""
    module = pytest.importorskip("torch", reason="PyTorch is not here: it comes with the extra `reference`")
    module.set_num_threads(int(THREADS))
    return module


@pytest.fixture
def x64() -> Iterator[None]:
    """Float64 for one test, where two programs must agree up to rounding."""
    with jax.enable_x64(True):
        yield
