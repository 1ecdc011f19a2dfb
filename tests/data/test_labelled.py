import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from stepax.data import Sentences

LABELS = np.array([0, 1, 1, 0, 1, 1], np.int32)
DATA = Sentences(tuple("abcdef"), LABELS, ("no", "yes"), "letters")


def test_taking_keeps_text_and_label_together():
    few = DATA.take(np.array([4, 0]))
    assert (few.texts, few.labels.tolist(), few.classes, few.held_out) == (("e", "a"), [1, 0], ("no", "yes"), 0)
    assert few.labels.dtype == np.int32
    assert DATA.take(LABELS == 0).texts == ("a", "d")
    assert len(DATA.take(range(0))) == len(DATA.take([])) == 0


def test_a_published_split_has_parts():
    data = Sentences(DATA.texts, LABELS, DATA.classes, "letters", 2)
    assert (data.train.texts, data.test.texts) == (tuple("abcd"), tuple("ef"))
    assert (data.train.held_out, data.test.held_out) == (0, 0)
    with pytest.raises(ValueError, match="letters has a published split: expected its parts `train` and `test`"):
        data.split(0.5)


@pytest.mark.parametrize("part", ["train", "test"])
def test_without_a_published_split_there_are_no_parts(part):
    with pytest.raises(ValueError, match=r"letters has no published split: expected folds, or `split\(test"):
        getattr(DATA, part)


def test_a_split_is_that_of_scikit_learn():
    train, test = DATA.split(1 / 3)
    rows = train_test_split(np.arange(6), test_size=1 / 3, stratify=LABELS, random_state=0)
    assert [train.texts, test.texts] == [tuple(DATA.texts[i] for i in part) for part in rows]
    assert sorted(train.texts + test.texts) == sorted(DATA.texts)
    assert np.bincount(test.labels).tolist() == [1, 1]
    assert len(DATA.split(0)[1]) == 0
    with pytest.raises(ValueError, match=r"test_fraction is 1: expected a number from 0 to below 1"):
        DATA.split(1)


def test_it_prints_its_size():
    assert repr(DATA) == "Sentences('letters': 6 texts of 2 classes)"
    held_out = Sentences(DATA.texts, LABELS, DATA.classes, "letters", 2)
    assert repr(held_out) == "Sentences('letters': 6 texts of 2 classes, the last 2 for testing)"
