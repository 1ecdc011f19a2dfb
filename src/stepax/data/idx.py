"""The idx format of MNIST and of the data sets made after it.

Reference: Yann LeCun, Corinna Cortes, Christopher J. C. Burges, "The MNIST database of handwritten digits", 1998; Han
Xiao, Kashif Rasul, Roland Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
algorithms", 2017, arXiv:1708.07747.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stepax.data.dataset import Dataset
from stepax.data.download import find

__all__ = ["PUBLISHED", "published", "read_idx"]

IMAGES_TRAIN, LABELS_TRAIN = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
IMAGES_TEST, LABELS_TEST = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
"""The third byte of a file says what its numbers are."""


class Publication(NamedTuple):
    """Where a data set is published: mirrors, the SHA-256 of each file, and the names of the classes."""

    mirrors: tuple[str, ...]
    checksums: dict[str, str]
    classes: tuple[str, ...]


PUBLISHED = {
    "mnist": Publication(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        checksums={
            IMAGES_TRAIN: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            LABELS_TRAIN: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            IMAGES_TEST: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            LABELS_TEST: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
        classes=tuple("0123456789"),
    ),
    "fashion_mnist": Publication(
        mirrors=(
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        checksums={
            IMAGES_TRAIN: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            LABELS_TRAIN: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            IMAGES_TEST: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            LABELS_TEST: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
}


def published(name: str) -> Dataset:
    """Load MNIST or Fashion-MNIST: 60,000 and 10,000 images ``[28, 28, 1]`` in [0, 1], as published.

    Args:
        name: A name in ``PUBLISHED``.

    Raises:
        ValueError: A file in ``$STEPAX_DATA`` has a wrong checksum.
        ConnectionError: The files are neither there nor in the cache, and cannot be downloaded.
    """
    source = PUBLISHED[name]
    paths = find(name, source.checksums, source.mirrors)
    parts = (IMAGES_TRAIN, LABELS_TRAIN), (IMAGES_TEST, LABELS_TEST)
    train, test = (
        {
            "x": np.divide(read_idx(paths[images])[..., np.newaxis], 255, dtype=np.float32),
            "y": read_idx(paths[labels]).astype(np.int32),
        }
        for images, labels in parts
    )
    return Dataset(train, test, name, "classification", source.classes)


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped idx file: two zero bytes, type, rank, the dimensions as big-endian int32, then the numbers.

    Returns:
        The array, in the machine's byte order.

    Raises:
        ValueError: The file is truncated, damaged, or of another format.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is truncated or no gzip file ({error})") from error
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in DTYPES:
        raise ValueError(
            f"{path} begins with {content[:4].hex() or 'nothing'}: expected the magic number of idx, such as 00000803"
        )
    dtype, start = np.dtype(DTYPES[content[2]]), 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"{path} ends within its header, after {len(content)} of {start} bytes")
    shape = tuple(np.frombuffer(content, ">u4", content[3], offset=4).tolist())
    expected = start + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise ValueError(f"{path} unpacks to {len(content)} bytes: expected {expected} for shape {shape}")
    return np.frombuffer(content, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
