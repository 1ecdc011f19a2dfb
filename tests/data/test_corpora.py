import hashlib

import numpy as np
import pytest

import stepax as sx
from stepax.data import corpora


@pytest.fixture
def published(monkeypatch, tmp_path):
    """Makes a folder of the user's that holds other files than the published ones, with the right checksums."""

    def make(table, name, **contents):
        source = table[name]
        files = dict(zip(source.checksums, contents.values(), strict=True))
        checksums = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
        monkeypatch.setitem(table, name, source._replace(checksums=checksums))
        monkeypatch.setenv("STEPAX_DATA", str(tmp_path))
        (tmp_path / source.folder).mkdir(exist_ok=True)
        for file, content in files.items():
            (tmp_path / source.folder / file).write_bytes(content)

    return make


def test_a_corpus_is_its_file(published):
    published(corpora.CORPORA, "tinyshakespeare", text="Soft, é!\n\nWho?\n".encode())
    assert sx.data.corpus("tinyshakespeare") == "Soft, é!\n\nWho?\n"


def test_a_file_for_each_class(published):
    published(corpora.SENTENCES, "rt_polarity", bad=b"dull . \nhmmm\x85 no\n", good=b"na\xefve and fine")
    data = sx.data.sentences("rt_polarity")
    assert data.texts == ("dull .", "hmmm\x85 no", "naïve and fine")
    assert (data.labels.tolist(), data.labels.dtype) == ([0, 0, 1], np.int32)
    assert (data.classes, data.held_out) == (("negative", "positive"), 0)


def test_a_label_before_each_line_and_a_published_test_split(published):
    published(corpora.SENTENCES, "trec", train=b"5 How far ?\n0 Why ?\n", test=b"3 Who ?\n")
    data = sx.data.sentences("trec")
    assert (data.train.texts, data.train.labels.tolist()) == (("How far ?", "Why ?"), [5, 0])
    assert (data.test.texts, data.test.labels.tolist()) == (("Who ?",), [3])


def test_a_line_with_a_label_alone_is_left_out(published):
    published(corpora.SENTENCES, "cr", all=b"1 great .\n1 \n1\n0 no\n")
    assert sx.data.sentences("cr").texts == ("great .", "no")


@pytest.mark.parametrize("line", [b"2 what", b"great", b"1great", b"-1 no", b""])
def test_a_line_without_a_label_is_refused_by_its_number(published, line):
    published(corpora.SENTENCES, "cr", all=b"1 great .\n" + line + b"\n0 no\n")
    with pytest.raises(ValueError, match=r"custrev.all, line 2: .*: expected a label below 2, a blank, a text"):
        sx.data.sentences("cr")


def test_unknown_names_get_a_suggestion():
    with pytest.raises(ValueError, match=r"name: unknown text 'tinyshakespear': .*did you mean 'tinyshakespeare'"):
        sx.data.corpus("tinyshakespear")
    with pytest.raises(ValueError, match=r"name: unknown sentences 'rt-polarity': .*did you mean 'rt_polarity'"):
        sx.data.sentences("rt-polarity")


def test_a_wrong_file_of_the_users_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("STEPAX_DATA", str(tmp_path))
    (tmp_path / "tinyshakespeare").mkdir()
    (tmp_path / "tinyshakespeare" / "input.txt").write_text("First Citizen:")
    with pytest.raises(ValueError, match=r"input.txt has SHA-256 .*: expected 86c4e6aa"):
        sx.data.corpus("tinyshakespeare")


def test_the_published_corpus(data_dir):
    if not (data_dir / "tinyshakespeare").is_dir():
        pytest.skip("tinyshakespeare is not in the folder of data sets")
    text = sx.data.corpus("tinyshakespeare")
    assert (len(text), len(set(text))) == (1_115_394, 65)
    assert text.startswith("First Citizen:\nBefore we proceed any further, hear me speak.")


@pytest.mark.parametrize(
    ("name", "counts", "held_out"),
    [
        ("rt_polarity", [5331, 5331], 0),
        ("trec", [1162 + 138, 1250 + 94, 86 + 9, 1223 + 65, 835 + 81, 896 + 113], 500),
        ("subj", [5000, 5000], 0),
        ("cr", [1366, 2405], 0),
    ],
)
def test_the_published_sentences(data_dir, name, counts, held_out):
    if not (data_dir / corpora.SENTENCES[name].folder).is_dir():
        pytest.skip(f"{name} is not in the folder of data sets")
    data = sx.data.sentences(name)
    assert np.bincount(data.labels).tolist() == counts
    assert (len(data.texts), data.held_out, len(data.classes)) == (sum(counts), held_out, len(counts))
    assert all(text == text.strip() != "" for text in data.texts)


def test_labels_of_published_questions_mean_what_their_names_say(data_dir):
    if not (data_dir / "sentences").is_dir():
        pytest.skip("trec is not in the folder of data sets")
    test = sx.data.sentences("trec").test
    asked = {text: test.classes[label] for text, label in zip(test.texts, test.labels, strict=True)}
    assert asked["How far is it from Denver to Aspen ?"] == "number"
    assert asked["What county is Modesto , California in ?"] == "location"
    assert asked["Who was Galileo ?"] == "human"
    assert asked["What is an atom ?"] == "description"
