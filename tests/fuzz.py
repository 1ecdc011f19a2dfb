"""Damaged and hostile files for every reader: each is refused with the reader's own exception, or is still valid.

python -m tests.fuzz 10000

Files are drawn from the seed alone: ``python -m tests.fuzz 10000 --reader csv --keep folder`` keeps those that failed.
"""

import argparse
import collections
import gzip
import io
import itertools
import json
import pathlib
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import stepax as sx
from stepax import checkpoint, data, deployment, record, weights
from stepax.data.inputs import read_inputs

SECONDS = 20
"""What takes longer hangs."""

Mutation = Callable[[bytes, random.Random], bytes]


class Reader(NamedTuple):
    """A reader with a file or folder that it reads.

    Attributes:
        make: ``folder -> path``: writes a sound file or folder into the folder.
        read: ``path -> what it holds``.
        refusals: How it may refuse.
        mutations: Damage that knows the format.
        exact: Whether the format has a checksum, so that what loads must be what was saved.
        only: Which file of a folder is damaged; any, if this is empty.
    """

    make: Callable[[pathlib.Path], pathlib.Path]
    read: Callable[[pathlib.Path], Any]
    refusals: tuple[type[Exception], ...]
    mutations: tuple[Mutation, ...] = ()
    exact: bool = False
    only: str = ""


class Counts(NamedTuple):
    """What became of the files of one reader."""

    files: int
    refused: int
    valid: int
    failures: list[str]


# Damage of bytes, whatever they mean.


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 8, 64])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flipped_at_the_start(content: bytes, rng: random.Random) -> bytes:
    return flipped(content[:64], rng) + content[64:]


def cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.choice([0, 1, 7, 8, 9, len(content) - 1, rng.randrange(len(content))])]


def grown(content: bytes, rng: random.Random) -> bytes:
    return content + rng.randbytes(rng.choice([1, 8, 1000]))


def moved(content: bytes, rng: random.Random) -> bytes:
    a, b, c = sorted(rng.randrange(len(content) + 1) for _ in range(3))
    return rng.choice([content[:a] + content[b:], content[:b] + content[a:], content[:a] + content[b:c] + content[a:]])


def overwritten(content: bytes, rng: random.Random) -> bytes:
    at, length = rng.randrange(len(content)), rng.choice([1, 2, 4, 8, 32])
    fill = rng.choice([b"\0", b"\xff", b"\x7f", b"9", b"\n", b'"', b"\x80"]) * length
    return (content[:at] + rng.choice([fill, rng.randbytes(length)]) + content[at + length :])[: len(content)]


def foreign(content: bytes, rng: random.Random) -> bytes:
    length = rng.choice([1, 16, len(content)])
    return rng.choice([rng.randbytes(length), b"\x80\x04cos\nsystem\n(S'true'\ntR.", b"PK\x05\x06" + bytes(18), b"{}"])


PLAIN: tuple[Mutation, ...] = (flipped, flipped_at_the_start, cut, grown, moved, overwritten, foreign)


# Damage of JSON.

HUGE = (2**31, 2**63 - 1, 2**63, 2**64, 10**30)


def random_json(rng: random.Random) -> Any:
    return rng.choice(
        [None, True, -1, 0, 3, 0.5, 1e400, "", "..", "x" * 5000, "\ud800", [], [[]], {}, {"": 0}, [1, "a"], *HUGE]
    )


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in JSON: its owner, and the index there."""
    for index in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, index
        yield from places(value[index])


def mutated_json(value: Any, rng: random.Random) -> Any:
    value = {"root": json.loads(json.dumps(value))}
    for _ in range(rng.choice([1, 1, 2, 5])):
        found = list(places(value))
        owner, index = rng.choice(found)
        action = rng.randrange(5)
        if action == 0 and index != "root":
            del owner[index]
        elif action == 1 and isinstance(owner, dict) and index != "root":
            owner[rng.choice(["", "../../etc/passwd", "a\0b", "x" * 300, "__metadata__", "arrays"])] = owner[index]
        elif action == 2 and type(owner[index]) is int:
            owner[index] += rng.choice([-1, 1, 4, -(10**6), 2**40, 2**63])
        elif action == 3:
            other, at = rng.choice(found)
            owner[index] = json.loads(json.dumps(other[at]))
        else:
            owner[index] = random_json(rng)
    return value["root"]


def as_text(value: Any, rng: random.Random) -> bytes:
    text = json.dumps(value)
    if rng.random() < 0.1:  # a name twice
        text = text.replace("{", "{" + text[1 : text.find("}") + 1].split(", ")[0] + ", ", 1)
    if rng.random() < 0.05:
        text = rng.choice(['{"a":' * 5000, "[" * 100_000, text.replace("1", "1" * 6000, 1), "NaN", text.upper()])
    return text.encode()


def json_file(content: bytes, rng: random.Random) -> bytes:
    try:
        return as_text(mutated_json(json.loads(content), rng), rng)
    except ValueError:  # another file of the folder
        return flipped(content, rng)


# Damage of safetensors.


def header_of(content: bytes) -> tuple[Any, bytes]:
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(text: bytes, rest: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text + rest


def huge_header(content: bytes, rng: random.Random) -> bytes:
    length = rng.choice([0, 1, 2, 7, len(content), len(content) - 8, len(content) - 7, 2**23, 2**32, 2**63, 2**64 - 1])
    return length.to_bytes(8, "little") + content[8:]


def changed_header(content: bytes, rng: random.Random) -> bytes:
    header, rest = header_of(content)
    return with_header(as_text(mutated_json(header, rng), rng), rest)


def changed_array(content: bytes, rng: random.Random) -> bytes:
    """Other offsets, shapes and dtypes, which overlap, leave holes, overflow or do not match."""
    header, rest = header_of(content)
    arrays = [value for name, value in header.items() if name != "__metadata__"]
    for _ in range(rng.choice([1, 1, 3])):
        value = rng.choice(arrays)
        field = rng.choice(list(value))
        value[field] = other_field(field, value[field], rng.choice(arrays)[field], rng)
    return with_header(json.dumps(header).encode(), rest)


def other_field(field: str, value: Any, other: Any, rng: random.Random) -> Any:
    if field == "dtype":
        return rng.choice(["F64", "I8", "BOOL", "C64", "F4", "f32", "O", "", "F8_E5M2", other])
    if field == "shape":
        random_shape = [rng.choice([0, 1, 2, *HUGE]) for _ in range(rng.choice([0, 1, 2, 5]))]
        longer = [1] * rng.choice([33, 65, 20_000])
        return rng.choice([value[::-1], random_shape, longer, [0, *HUGE], [float(axis) for axis in value], other])
    return rng.choice([[place + rng.choice([-8, -1, 1, 8]) for place in value], value[::-1], other])


def renamed_array(content: bytes, rng: random.Random) -> bytes:
    header, rest = header_of(content)
    name = rng.choice(list(header))
    header[rng.choice(["", "../x", "\0", "x" * 257, "__metadata__", "\u202e", f"{name}.a"])] = header.pop(name)
    return with_header(json.dumps(header).encode(), rest)


SAFETENSORS: tuple[Mutation, ...] = (huge_header, changed_header, changed_array, changed_array, renamed_array)


# Damage inside of what a checksum or a compression guards from the plain kind.


def inside_gzip(content: bytes, rng: random.Random) -> bytes:
    return gzip.compress(rng.choice(PLAIN)(gzip.decompress(content), rng), 1)


def npy_header(content: bytes, rng: random.Random) -> bytes:
    """Another shape or dtype in the header of an array of NumPy, which is as long as before."""
    start = 10
    length = int.from_bytes(content[8:start], "little")
    text = content[start : start + length].decode()
    shape = text[text.index("(") : text.index(")") + 1]
    dtype = text[text.index(": '") + 2 : text.index("', ") + 1]
    shapes = ["(0,)", "()", "(-1,)", "(2,2,2)", f"({2**20},{2**20},{2**20})", f"({2**62},2)", f"({2**33},)", "1", "(1,"]
    other = rng.choice(["'|O'", "'<f8'", "'<i2'", "'|S4'", "'<U9'", "'<M8[s]'", "'<c8'", "[('a','<f4')]", "'?'", "'x'"])
    changed = rng.choice([text.replace(shape, rng.choice(shapes)), text.replace(dtype, other)])
    return (
        content[:start] + changed.strip().ljust(length - 1).encode()[: length - 1] + b"\n" + content[start + length :]
    )


def inside_zip(content: bytes, rng: random.Random) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as other:
        names = archive.namelist()
        chosen = rng.choice(names)
        for name in names:
            member = archive.read(name)
            if name == chosen:
                member = rng.choice([*PLAIN, npy_header, npy_header, npy_header])(member, rng)
                name = rng.choice([name, name, name, "../../x.npy", "/x.npy", "X.NPY", "z.npy", "x.txt", "y.npy"])
            with warnings.catch_warnings(action="ignore", category=UserWarning):  # a name twice is meant
                other.writestr(name, member)
    return written.getvalue()


def other_cells(content: bytes, rng: random.Random) -> bytes:
    cells = [line.split(",") for line in content.decode().splitlines()]
    row = rng.choice(cells)
    row[rng.randrange(len(row))] = rng.choice(
        [
            "",
            " ",
            "nan",
            "inf",
            "-1e400",
            "1e39",
            "1_000",
            "0x10",
            '"',
            '"a\nb"',
            "\0",
            "\ufeff",
            "٣",
            "1;2",
            "x" * 200_000,
        ]
    )
    return "\n".join(map(",".join, cells)).encode()


def png_chunk(content: bytes, rng: random.Random) -> bytes:
    """Another size, depth or colour type, with the checksum that belongs to it."""
    header = bytearray(content[12:29])
    at = rng.choice([*range(4, 12), 12, 13, 14, 15, 16])
    header[at] = rng.choice([0, 1, 2, 3, 4, 6, 8, 16, 0x7F, 0xFF])
    return content[:12] + bytes(header) + zlib.crc32(header).to_bytes(4, "big") + content[33:]


# The readers, each with something sound to read.

STATE = sx.State(
    {"conv_0": {"kernel": jnp.ones((2, 2, 1, 3)), "bias": jnp.arange(3.0)}, "half": jnp.ones(5, jnp.bfloat16)},
    {"batch_stats": {"norm_0": {"mean": jnp.zeros(3), "flag": jnp.array([True, False])}}},
    (),
    {},
    jnp.int32(3),
    jax.random.key(0),
)
LEARNER = sx.supervised(sx.nn.MLP((3, 2)), sx.losses.cross_entropy, optax.sgd(0.1))
DATA = {"x": np.eye(12, 4, dtype=np.float32), "y": np.arange(12) % 2}


def bits(tree: Any) -> Any:
    return jax.tree.map(
        lambda leaf: np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
        .tobytes(),
        tree,
    )  # fmt: skip


def make_weights(folder: pathlib.Path) -> pathlib.Path:
    weights.save(folder / "a.safetensors", STATE)
    return folder / "a.safetensors"


def make_export(folder: pathlib.Path) -> pathlib.Path:
    deployment.export(LEARNER, LEARNER.init(jax.random.key(0), DATA), folder / "a.stepax", DATA["x"])
    return folder / "a.stepax"


def read_export(path: pathlib.Path) -> Any:
    loaded = deployment.load_exported(path)
    return bits(loaded._arrays), loaded.inputs, loaded.outputs, loaded._exported.mlir_module_serialized


def make_checkpoint(folder: pathlib.Path) -> pathlib.Path:
    checkpoint.save(folder / "checkpoint", STATE)
    return folder / "checkpoint"


def make_run(folder: pathlib.Path) -> pathlib.Path:
    run = sx.fit(LEARNER, DATA, key=jax.random.key(3), epochs=2, batch_size=3, progress=False)
    record.save(folder / "run", run, {"classes": ("a", "b")})
    return folder / "run"


def make_npz(folder: pathlib.Path) -> pathlib.Path:
    np.savez_compressed(folder / "a.npz", **DATA)
    return folder / "a.npz"


def make_npy(folder: pathlib.Path) -> pathlib.Path:
    np.save(folder / "a.npy", DATA["x"])
    return folder / "a.npy"


def make_csv(folder: pathlib.Path) -> pathlib.Path:
    lines = ["a,b,c", *(f"{i},{i / 7},{'no' if i % 2 else 'yes'}" for i in range(20))]
    (folder / "a.csv").write_text("\n".join(lines))
    return folder / "a.csv"


def make_idx(folder: pathlib.Path) -> pathlib.Path:
    head = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (3, 4, 5))
    (folder / "a.gz").write_bytes(gzip.compress(head + bytes(range(60))))
    return folder / "a.gz"


def make_images(suffix: str) -> Callable[[pathlib.Path], pathlib.Path]:
    def make(folder: pathlib.Path) -> pathlib.Path:
        pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)
        for name in "ab":
            (folder / "images" / name).mkdir(parents=True)
            for i in range(3):
                Image.fromarray(pixels).save(folder / "images" / name / f"{i}.{suffix}")
        return folder / "images"

    return make


def read_data(path: pathlib.Path, **settings: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of large images and unknown tags
        train, test = data.load(path, **settings)
    for part in (train, test):
        assert len(part["x"]) == len(part["y"])
        assert np.isfinite(part["x"]).all()
    return len(train["x"])


READERS = {
    "weights.load": Reader(
        make_weights, lambda path: bits(weights.load(path, STATE)), (weights.WeightsError,), SAFETENSORS
    ),
    "weights.read": Reader(make_weights, weights.read, (weights.WeightsError,), SAFETENSORS),
    "load_exported": Reader(make_export, read_export, (deployment.ExportError,), SAFETENSORS, exact=True),
    "checkpoint.load": Reader(
        make_checkpoint,
        lambda path: bits(checkpoint.load(path, STATE)),
        (checkpoint.CheckpointError,),
        (json_file,) * 3,
        exact=True,
    ),
    "checkpoint.index": Reader(
        make_checkpoint,
        lambda path: bits(checkpoint.load(path, STATE)),
        (checkpoint.CheckpointError,),
        (json_file,) * 6,
        exact=True,
        only="index.json",
    ),
    "record.load": Reader(make_run, record.load, (record.RunError,), (json_file,) * 3, only="run.json"),
    "record.restore": Reader(
        make_run,
        lambda path: bits(record.restore(path, LEARNER.init(jax.random.key(0), DATA))),
        (record.RunError, checkpoint.CheckpointError),
        (json_file,) * 3,
        exact=True,
    ),
    "npz": Reader(make_npz, read_data, (ValueError, TypeError), (inside_zip,) * 6),
    "npy": Reader(
        make_npy, lambda path: read_inputs(path, (4,)).x.shape, (ValueError, TypeError), (npy_header,) * 3
    ),
    "csv": Reader(make_csv, lambda path: read_data(path, target="c"), (ValueError,), (other_cells,) * 4),
    "idx": Reader(make_idx, data.read_idx, (ValueError,), (inside_gzip,) * 4),
    "png": Reader(make_images("png"), read_data, (ValueError,), (png_chunk,) * 3),
    "jpeg": Reader(make_images("jpg"), read_data, (ValueError,)),
}  # fmt: skip


def mutated(name: str, path: pathlib.Path, number: int) -> tuple[pathlib.Path, bytes]:
    """The file of a number: which one is changed, and into what."""
    rng, reader = random.Random(f"{name} {number}"), READERS[name]
    files = sorted(file for file in path.rglob(reader.only or "*") if file.is_file() and file.stat().st_size)
    file = rng.choice(files) if path.is_dir() else path
    mutation = rng.choice([*PLAIN, *reader.mutations])
    return file, mutation(file.read_bytes(), rng)


def outcome(reader: Reader, path: pathlib.Path, sound: Any) -> str:
    """``refused``, ``valid``, or what is wrong."""
    try:
        value = reader.read(path)
    except reader.refusals as error:
        return "refused" if str(error) else f"{type(error).__name__} without a word"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:200]} ({place.filename.split('/')[-1]}:{place.lineno})"
    same = not reader.exact or value == sound
    return "valid" if same else "it loaded something else than was saved"


def fuzz(name: str, count: int, first: int = 0, keep: pathlib.Path | None = None) -> Iterator[tuple[int, str]]:
    """Reads files ``first`` to ``count``: yields each number before it is read with ``""``, and after with an outcome.

    The files are the same for the same name and number.
    """
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        path = reader.make(pathlib.Path(folder))
        sound = reader.read(path)
        for number in range(first, count):
            file, content = mutated(name, path, number)
            whole = file.read_bytes()
            file.write_bytes(content)
            yield number, ""
            result = outcome(reader, path, sound)
            if keep and result not in ("refused", "valid"):
                shutil.copy(file, keep / f"{name}-{number}-{file.name}")
            file.write_bytes(whole)
            yield number, result


def worker(name: str, count: int, first: int, keep: pathlib.Path | None) -> None:
    """Fuzzes in this process and prints what happens, so that the parent knows it even of a process that dies."""
    before = None
    for number, result in fuzz(name, count, first, keep):
        before = before or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.alarm(0 if result else SECONDS)
        print(json.dumps([number, result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]), flush=True)


def in_processes(name: str, count: int, keep: pathlib.Path | None) -> tuple[Counts, int]:
    """Fuzzes in processes of its own, a new one after each that died; with the memory in KiB that reading took."""
    results: collections.Counter[str] = collections.Counter()
    failures, first, memory = [], 0, 0
    while first < count:
        command = [sys.executable, "-m", "tests.fuzz", str(count), "--reader", name, "--first", str(first)]
        command += ["--keep", str(keep)] if keep else []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            last, ended = first - 1, True
            for line in process.stdout:
                last, result, used = json.loads(line)
                memory, ended = max(memory, used), bool(result)
                if result in ("refused", "valid"):
                    results[result] += 1
                elif result:
                    failures.append(f"{name} {last}: {result}")
        if process.returncode and ended:
            raise RuntimeError(f"{name}: the process ended between two files, with {process.returncode}")
        if not ended:
            failures.append(f"{name} {last}: the process died with {process.returncode}")
        first = last + 1
    return Counts(count, results["refused"], results["valid"], failures), memory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", type=int, help="how many in all")
    parser.add_argument("--reader", choices=READERS, help="this one alone, in this process")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the files that failed")
    given = parser.parse_args()
    if given.keep:
        given.keep.mkdir(parents=True, exist_ok=True)
    if given.reader:
        worker(given.reader, given.files, given.first, given.keep)
        return 0
    print(f"{'reader':16}{'files':>8}{'refused':>9}{'valid':>7}{'failed':>8}{'MiB':>7}")
    failures = []
    for i, name in enumerate(READERS):
        share = given.files // len(READERS) + (i < given.files % len(READERS))
        counts, memory = in_processes(name, share, given.keep)
        failures += counts.failures
        print(
            f"{name:16}{counts.files:8}{counts.refused:9}{counts.valid:7}{len(counts.failures):8}{memory >> 10:7}",
            flush=True,
        )
    print(*itertools.islice(failures, 50), sep="\n")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
