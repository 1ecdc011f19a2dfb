import codecs

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stepax as sx


@pytest.fixture
def file(tmp_path):
    """Writes text (or bytes) to a file."""

    def write(content, name="a.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_marks_are_dropped_and_ends_of_lines_are_one_kind(file):
    assert sx.data.text(file("\ufeffa\r\nb\rc\n\n\ufeffé")) == "a\nb\nc\n\n\ufeffé"
    assert sx.data.text(str(file("x"))) == "x"


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig"])
def test_other_encodings_are_read_when_named(file, encoding):
    assert sx.data.text(file("café\n".encode(encoding)), encoding=encoding) == "café\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"abc\nd\xe9f", r"a.txt, byte 5 \(line 2\) is e9: not utf-8 \(.*\); .* pass encoding= \('cp1252', 'latin-1'"),
        (b"ab\xc3", r"a.txt, byte 2 \(line 1\) is c3: not utf-8 \(unexpected end of data\)"),
        (codecs.BOM_UTF16_LE + "abc".encode("utf-16-le"), r"byte 0 \(line 1\) is ff: .*'utf-16'; --encoding on the"),
        ("a\nb".encode("utf-16-le"), r"a.txt, line 1 holds the character NUL: expected a text; .*'utf-16'"),
        (b"", "a.txt is empty: expected a text"),
        (b"\xef\xbb\xbf", "a.txt is blank: expected a text"),
        (b" \n\t\r\n", "a.txt is blank: expected a text"),
    ],
)
def test_what_is_no_text_is_refused_with_its_place(file, content, message):
    with pytest.raises(ValueError, match=message):
        sx.data.text(file(content))


@pytest.mark.parametrize("encoding", ["utf-9", "hex", "", "a\0b"])
def test_an_unknown_encoding_is_refused(file, encoding):
    with pytest.raises(ValueError, match=r"encoding: .*expected a name such as 'utf-8' or 'latin-1'"):
        sx.data.text(file("a"), encoding)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        sx.data.text(tmp_path / "nothing.txt")


def refusal(path, encoding):
    """Why a file is refused, or its name where it is read as a text."""
    try:
        text = sx.data.text(path, encoding)
    except ValueError as error:
        return str(error)
    return path.name if text.strip() and "\r" not in text else f"read as {text!r}"


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["utf-8", "latin-1", "utf-16"]))
def test_any_bytes_are_read_or_refused_by_name(tmp_path_factory, content, encoding):
    path = tmp_path_factory.getbasetemp() / "noise.txt"
    path.write_bytes(content)
    assert "noise.txt" in refusal(path, encoding)


TABLE = 'id,review,stars\n1,good film,good\n2,"dull, long",bad\n\n3,fine,good\n'


def test_texts_and_classes_of_a_table(file):
    data = sx.data.labelled_texts(file(TABLE, "films.csv"), text="review", target="stars")
    assert data.texts == ("good film", "dull, long", "fine")
    assert (data.labels.tolist(), data.labels.dtype) == ([1, 0, 1], np.int32)
    assert (data.classes, data.name, data.held_out) == (("bad", "good"), "films", 0)


def test_classes_of_whole_numbers_are_sorted_as_numbers(file):
    content = "text,y\na,10\nb,9\nc,-1\n"
    assert sx.data.labelled_texts(file(content), "text", "y").classes == ("-1", "9", "10")
    mixed = sx.data.labelled_texts(file(content + "d,x\ne,1.5\n"), "text", "y")
    assert mixed.classes == ("-1", "1.5", "10", "9", "x")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "UTF8", "latin-1", "utf-16"])
def test_a_table_in_another_encoding(file, encoding):
    content = "\xe9t\xe9;y\ncaf\xe9;p\nth\xe9;q\n".encode(encoding)
    assert sx.data.labelled_texts(file(content), "été", "y", encoding).texts == ("café", "thé")


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        (TABLE, {"text": "reviews"}, "text: .*films.csv has no column 'reviews': .*did you mean 'review'"),
        (TABLE, {"target": "star"}, "target: .*films.csv has no column 'star': .*did you mean 'stars'"),
        (TABLE, {"target": "review"}, "target: 'review' is the column of the texts: expected another column"),
        (TABLE + "4, ,bad\n", {}, "films.csv, line 6: column 'review' is empty"),
        (TABLE + "4,odd,\n", {}, "films.csv, line 6: column 'stars' is empty"),
        ("review,stars\n", {}, "has a header and no rows"),
        (b"review,stars\ncaf\xe9,p\n", {}, r"films.csv, byte 16 \(line 2\) is e9: not utf-8 .* pass encoding="),
        ("", {}, "has no lines"),
    ],
)
def test_a_bad_table_is_refused(file, content, arguments, message):
    with pytest.raises(ValueError, match=message):
        sx.data.labelled_texts(file(content, "films.csv"), **{"text": "review", "target": "stars"} | arguments)


def test_one_class_is_enough_to_measure(file):
    data = sx.data.labelled_texts(file("text,y\na,good\nb,good\n"), "text", "y")
    assert (data.classes, data.labels.tolist()) == (("good",), [0, 0])


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (("01", "1", "2"), ("01", "1", "2")),
        (("10", "9", "-0"), ("-0", "10", "9")),
        (("10", "9", "0"), ("0", "9", "10")),
        (("1" * 19, "2"), ("1" * 19, "2")),
    ],
)
def test_classes_that_are_written_differently_differ(file, cells, classes):
    content = "text,y\n" + "".join(f"a,{cell}\n" for cell in cells)
    assert sx.data.labelled_texts(file(content), "text", "y").classes == classes
