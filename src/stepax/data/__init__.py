"""Data sets by name or path, the scaling of their columns, texts, and streams of data larger than memory."""

from stepax.data.chorales import chorales
from stepax.data.corpora import corpus, sentences
from stepax.data.dataset import Dataset
from stepax.data.demonstrations import demonstrations, save_demonstrations
from stepax.data.idx import read_idx
from stepax.data.labelled import Sentences
from stepax.data.load import load, names
from stepax.data.scaling import Scaling, min_max, standardization
from stepax.data.stream import stream
from stepax.data.texts import labelled_texts, text
from stepax.files import cache_dir

__all__ = [
    "Dataset",
    "Scaling",
    "Sentences",
    "cache_dir",
    "chorales",
    "corpus",
    "demonstrations",
    "labelled_texts",
    "load",
    "min_max",
    "names",
    "read_idx",
    "save_demonstrations",
    "sentences",
    "standardization",
    "stream",
    "text",
]
