import numpy as np
import pytest

from stepax.cli import texts
from stepax.cli.texts import characters, form_of, read, read_file, text_of


@pytest.mark.parametrize(
    ("source", "reading", "form"),
    [
        ("digits", {}, "rows"),
        ("t.csv", {"target": "y"}, "rows"),
        ("t.csv", {"text": "x", "target": "y"}, "texts"),
        ("book.TXT", {}, "text"),
        ("tinyshakespeare", {}, "text"),
        ("trec", {}, "texts"),
    ],
)
def test_the_form_of_data_follows_from_name_suffix_and_options(source, reading, form):
    assert form_of(source, reading) == form


def test_the_end_of_a_text_is_its_test_part(tmp_path):
    whole = "äöü€𝄞 and so on, 20 ch"
    (tmp_path / "t.txt").write_text(whole, encoding="utf-8")
    train, test = read(str(tmp_path / "t.txt"), {})
    place = len(whole) - round(0.1 * len(whole))
    assert (text_of(train["x"]), text_of(test["x"])) == (whole[:place], whole[place:])
    train, test = read(str(tmp_path / "t.txt"), {"test_fraction": 0.5})
    assert len(train["x"]) == len(test["x"]) == len(whole) / 2


def test_characters_come_back():
    text = "a\0b𝄞"
    assert characters(text).tolist() == [97, 0, 98, 0x1D11E]
    assert text_of(characters(text)) == text


def test_texts_of_a_table_are_split_with_their_classes(reviews):
    dataset = read(str(reviews), {"text": "review", "target": "mood"})
    train, test = dataset
    assert (dataset.classes, len(train["x"]), len(test["x"])) == (("bad", "good"), 96, 24)
    np.testing.assert_array_equal(np.bincount(test["y"]), [12, 12])
    assert all(
        ("joy" in text or "great" in text or "loved" in text) == label
        for text, label in zip(*train.values(), strict=True)
    )


def test_a_latin_file_needs_its_encoding(tmp_path):
    (tmp_path / "t.txt").write_bytes("für Elise, ".encode("latin-1") * 3)
    with pytest.raises(ValueError, match=r"byte 1 \(line 1\) is fc: not utf-8"):
        read(str(tmp_path / "t.txt"), {})
    train, _ = read(str(tmp_path / "t.txt"), {"encoding": "latin-1"})
    assert text_of(train["x"]).startswith("für")


@pytest.mark.parametrize(
    ("name", "content", "column", "expected"),
    [
        ("t.txt", "one\n\n two \n", None, ("one", " two ")),
        ("t.csv", "a,b\n1,one\n2,two\n", "b", ("one", "two")),
        ("t.csv", "b\none\n", None, ("one",)),
    ],
)
def test_texts_without_classes_are_lines_or_cells(tmp_path, name, content, column, expected):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_file(tmp_path / name, column, "utf-8") == expected


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("t.csv", "c", "has no column 'c'"),
        ("t.csv", None, "has 2 columns: expected one, of texts"),
        ("t.npy", "b", "no kind of file with texts"),
        ("none.csv", "b", "there is no file or folder"),
    ],
)
def test_files_without_texts_are_refused(tmp_path, name, column, message):
    for file in ("t.csv", "t.npy"):
        (tmp_path / file).write_text("a,b\n1,one\n", encoding="utf-8")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_file(tmp_path / name, column, "utf-8")


@pytest.mark.parametrize(
    ("source", "reading", "message"),
    [
        ("trec", {"encoding": "latin-1"}, "--encoding does not apply to trec, which is texts with classes"),
        ("trec", {"size": (3, 4)}, "--size does not apply to trec"),
        ("play.txt", {"target": "y"}, "--target does not apply to play.txt, which is a text to go on with"),
        ("play.npz", {"text": "x"}, "--text is for .csv tables, and play.npz is none"),
        ("reviews.csv", {"text": "review"}, "needs the name of its target column"),
        ("reviews.csv", {"text": "review", "target": "mood", "drop": ("id",)}, "--drop does not apply"),
        ("play.txt", {"test_fraction": 1}, "test_fraction: expected a number from 0 to below 1, got 1.0"),
        ("none.txt", {}, "there is no file or folder 'none.txt'"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, monkeypatch, reviews, source, reading, message):
    monkeypatch.chdir(tmp_path)
    for name in ("play.txt", "play.npz"):
        (tmp_path / name).write_text("a text")
    (tmp_path / "reviews.csv").write_text(reviews.read_text())
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read(source, reading)


def test_published_texts_have_names():
    assert {"tinyshakespeare", "trec", "rt_polarity", "subj", "cr"} == {*texts.NAMES}
