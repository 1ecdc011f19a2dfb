"""One training in several processes: starting and joining them, and what they have to agree on.

Every process runs the same program on its own devices, and every one must take the same steps in the same order: what
one of them alone knows, such as its clock or a signal, counts only once all know it.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO, Any

import jax
import numpy as np
from jax.sharding import Sharding

from stepax.checks import check_count
from stepax.typing import Array, Tree

__all__ = ["agreed", "fetched", "first", "from_first", "here", "is_shared", "join", "place", "start", "told", "whole"]

COORDINATOR, COUNT, INDEX, PARENT = "STEPAX_COORDINATOR", "STEPAX_PROCESSES", "STEPAX_PROCESS", "STEPAX_PARENT"
# Seconds between two looks at the processes, and that the others have to end when one has failed.
PAUSE, GRACE = 0.05, 10.0
# Lines that are shown of a process that failed.
LINES = 40


def start(command: Sequence[str], count: int, *, environment: Mapping[str, str] | None = None) -> int:
    """Runs a command in several processes on this machine, to its end; each calls :func:`join` when it starts.

    The first process has this one's output; the others are heard only if they fail. When one fails the others are
    ended. SIGTERM and Ctrl-C are passed on to all.

    Args:
        command: Program and arguments, such as ``[sys.executable, "train.py"]``.
        count: How many processes.
        environment: Variables in place of this process's.

    Returns:
        The exit status: 0, or that of the process that failed first, as a shell gives it.

    Raises:
        TypeError: ``count`` is no whole number.
        ValueError: ``count`` is below 1.
        OSError: The command cannot be run.
    """
    check_count("count", count)
    own = {**(os.environ if environment is None else environment), COORDINATOR: f"127.0.0.1:{_free_port()}"}
    children: list[subprocess.Popen] = []
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
        stack.callback(_end, children)
        signalled = stack.enter_context(_passed_on(children))
        for index, output in enumerate(outputs):
            streams: dict[str, Any] = {} if index == 0 else {"stdout": output, "stderr": output}
            # A session of its own: Ctrl-C reaches all through this process, once.
            variables = {**own, COUNT: str(count), INDEX: str(index), PARENT: str(os.getpid())}
            children.append(
                subprocess.Popen(command, env=variables, start_new_session=True, stdin=subprocess.DEVNULL, **streams)
            )
        failed = _wait(children)
        if failed is None:
            return 0
        status = children[failed].returncode
        if not signalled():
            _show(failed, count, status, outputs[failed])
            _end(children)
        _wait_for_all(children)
        return 128 - status if status < 0 else status


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def _passed_on(children: list[subprocess.Popen]) -> Iterator[Callable[[], bool]]:
    """Passes signals on to the processes; yields whether there was one."""
    noted = []

    def pass_on(number: int, frame: Any) -> None:
        noted.append(number)
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: bool(noted)
        return
    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(noted)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(children: list[subprocess.Popen]) -> int | None:
    """Waits for the first that fails, or for the end of all."""
    while True:
        statuses = [child.poll() for child in children]
        for index, status in enumerate(statuses):
            if status:
                return index
        if None not in statuses:
            return None
        time.sleep(PAUSE)


def _wait_for_all(children: list[subprocess.Popen]) -> None:
    end = time.monotonic() + GRACE
    while time.monotonic() < end and any(child.poll() is None for child in children):
        time.sleep(PAUSE)


def _end(children: list[subprocess.Popen]) -> None:
    """Ends what still runs."""
    # Those that save at a SIGTERM would wait for the one that is gone.
    for child in children:
        if child.poll() is None:
            child.kill()
        child.wait()


def _show(index: int, count: int, status: int, output: IO[bytes]) -> None:
    """Says which process failed, with the end of what it wrote; the first has been heard already."""
    output.seek(0)
    lines = output.read().decode(errors="replace").splitlines()[-LINES:]
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    sys.stderr.write("\n".join([f"process {index} of {count} {how}, and the others were ended", *lines]) + "\n")


def join(*, detect: bool = False) -> bool:
    """Makes this process one of several; to be called before JAX computes anything, and without effect a second time.

    Processes that :func:`start` has started find each other by what it tells them. On several machines
    ``jax.distributed.initialize(address, count, index)`` does the same, and no call of this is needed.

    Args:
        detect: Whether to ask the cluster instead: JAX finds Slurm, Open MPI, Kubernetes and TPU pods by itself.

    Returns:
        Whether there are several processes.

    Raises:
        RuntimeError: JAX has computed already, or the processes do not find each other; with ``detect``, there is no
            cluster that JAX knows.
    """
    if not jax.distributed.is_initialized():
        if detect:
            jax.distributed.initialize()
        elif COORDINATOR in os.environ:
            index = int(os.environ[INDEX])
            # On a machine with GPUs every process takes one.
            jax.distributed.initialize(os.environ[COORDINATOR], int(os.environ[COUNT]), index, local_device_ids=[index])
            sys.excepthook = _fail
            threading.Thread(target=_end_with, args=(int(os.environ[PARENT]),), daemon=True).start()
    return jax.distributed.is_initialized() and jax.process_count() > 1


def _end_with(parent: int) -> None:
    """Ends the process when the one that started it was killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _fail(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """Ends the process at an error at once: in an orderly end it would wait for the others, which wait for it."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, where)
        return
    traceback.print_exception(kind, error, where)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def first() -> bool:
    """Whether this is the process that shows, logs and saves: the first one, or the only one."""
    return jax.process_index() == 0


def is_shared(tree: Tree) -> bool:
    """Whether arrays of a tree lie on devices of several processes, by their shardings."""
    shardings = (getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(tree))
    return any(sharding is not None and not sharding.is_fully_addressable for sharding in shardings)


def agreed(*numbers: int) -> list[int]:
    """Of each number the largest that a process has; all of them must ask at the same place."""
    from jax.experimental import multihost_utils

    return np.asarray(multihost_utils.process_allgather(np.asarray(numbers, np.int32))).max(0).tolist()


def told(value: Any) -> Any:
    """What the first process has, in all: ``value``, as JSON can hold it; that of the others is not looked at."""
    from jax.experimental import multihost_utils

    text = np.frombuffer(json.dumps(value if first() else None).encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    sent = np.resize(text, length) if first() else np.zeros(length, np.uint8)
    return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(sent)).tobytes())


def from_first(array: np.ndarray) -> np.ndarray:
    """The first process's array in all, bit for bit; those of the others give shape and dtype."""
    from jax.experimental import multihost_utils

    # As bytes: a sum over processes, by which JAX does it, would turn -0.0 into 0.0.
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    sent = np.asarray(multihost_utils.broadcast_one_to_all(flat))
    return sent.view(array.dtype).reshape(array.shape)


def whole(array: Any) -> np.ndarray:
    """An array's numbers in memory of their own on this host, also of one that lies on devices of several processes.

    All processes must ask for such a one at the same place.
    """
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return np.array(array)
    if array.is_fully_replicated:
        return np.array(array.addressable_data(0))
    from jax.experimental import multihost_utils

    return np.array(multihost_utils.process_allgather(array, tiled=True))


def fetched(tree: Tree) -> Tree:
    """A tree of arrays as NumPy's; where they lie on devices of several processes, as :func:`whole` for each."""
    return jax.tree.map(whole, tree) if is_shared(tree) else jax.device_get(tree)


def here(tree: Tree) -> Tree:
    """A tree of arrays on this process's first device; all processes must ask for it at the same place."""

    def own(leaf: Any) -> Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(own(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        return jax.device_put(whole(leaf), jax.local_devices()[0])

    return jax.tree.map(own, tree)


def place(array: Any, sharding: Sharding) -> Array:
    """An array on other devices, of which each process puts in its own; all processes have the whole of it.

    Args:
        array: Numbers or keys; one that lies there already is returned as it is.
        sharding: Where to.
    """
    if isinstance(array, jax.Array):
        if array.committed and array.sharding.is_equivalent_to(sharding, array.ndim):
            return array
        if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
            data = place(jax.random.key_data(array), sharding)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(array))
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    host = whole(array)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
