"""Data sets by name or path, the scaling of their columns, and streams of data larger than memory."""

from stepax.data.dataset import Dataset
from stepax.data.idx import read_idx
from stepax.data.load import load, names
from stepax.data.scaling import Scaling, min_max, standardization
from stepax.data.stream import stream
from stepax.files import cache_dir

__all__ = ["Dataset", "Scaling", "cache_dir", "load", "min_max", "names", "read_idx", "standardization", "stream"]
