import csv
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepax.data import load
from stepax.data.table import read_table


@pytest.fixture
def table(tmp_path):
    """Writes text (or bytes) to a CSV file."""

    def write(content):
        path = tmp_path / "table.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def everything(path, **arguments):
    """The rows of a file without a split."""
    return load(path, test_fraction=0, **arguments)


def test_text_classes_are_sorted_and_columns_keep_their_order(table):
    path = table("b,species,a\n1,dog,10\n2,cat,20\n3.5,dog,-3e1\n")
    dataset = everything(path, target="species")
    assert (dataset.name, dataset.task, dataset.classes, dataset.features) == (
        "table",
        "classification",
        ("cat", "dog"),
        ("b", "a"),
    )
    np.testing.assert_array_equal(dataset.train["x"], np.array([[1, 10], [2, 20], [3.5, -30]], np.float32))
    assert dataset.train["x"].dtype == np.float32
    assert dataset.train["y"].tolist() == [1, 0, 1]


def test_few_whole_numbers_are_classes_and_others_are_targets(table):
    whole = table("a,y\n" + "1,3\n2,1.0\n" * 5)
    assert everything(whole, target="y").classes == ("1", "3")
    assert everything(whole, target="y", task="regression").train["y"].tolist()[:2] == [3, 1]
    prices = everything(table("a,y\n1,3.5\n2,1.0\n3,1.0\n4,3.5\n"), target="y")
    assert (prices.task, prices.classes, prices.train["y"].dtype) == ("regression", None, np.float32)


def test_it_is_split_by_class(table):
    path = table("a,y\n" + "1,u\n2,v\n" * 10)
    train, test = load(path, target="y", test_fraction=0.3)
    assert np.bincount(train["y"]).tolist() == [7, 7]
    assert np.bincount(test["y"]).tolist() == [3, 3]


def test_quotes_marks_blanks_and_empty_lines(table):
    path = table('\ufeff"a, b", y \r\n"1", "x ""1"""\r\n\r\n 2 ,"new\nline"\r\n\r\n'.encode())
    dataset = everything(path, target="y")
    assert dataset.features == ("a, b",)
    assert dataset.classes == ("new\nline", 'x "1"')
    assert dataset.train["x"].tolist() == [[1], [2]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no lines"),
        ("\n\n", "has no lines"),
        ("a,y\n", "has a header and no rows"),
        ("a,y\n1,2\n1,2,3\n", "line 3: 3 cells, but the header names 2 columns"),
        ("a,y\n\n1\n", "line 3: 1 cells, but"),
        ("a,a,y\n1,2,3\n", "two columns are called 'a'"),
        (",a,y\n0,1,2\n", "column 1 has no name"),
        ("a,y\n1,2\n\nred,2\n", "line 4: column 'a' holds 'red': expected a finite number"),
        ("a,y\n1,2\n,2\n", "line 3: column 'a' holds ''"),
        ("a,y\n1,2\nnan,2\n", "line 3: column 'a' holds 'nan'"),
        ("a,y\n1,2\n-inf,2\n", "line 3: column 'a' holds '-inf'"),
        ("a,y\n1_000,2\n", "line 2: column 'a' holds '1_000'"),
        ('a,y\n"multi\nline",2\n', "line 3: column 'a' holds"),
        ("a,y\n1e39,2\n", r"column 'a' of .* holds 1e\+39"),
        ("a,y\n1,2\n1,?\n", "line 3: target column 'y' holds '.' .others hold numbers."),
        ("a,y\n1,2\n1,nan\n", "line 3: target column 'y' holds 'nan' .others hold numbers."),
        ("a,y\n1,cat\n1,\n", "line 3: target column 'y' holds ''"),
        ("y\n1\n2\n", "has the target column 'y' only"),
        ('a,y\n1,"2\n3,4\n', "not a CSV table"),
        ("a;y\n1,5;2\n", "line 2: column 'a' holds '1,5': expected a finite number"),
        ("a:y\n1:2\n", "has no column 'y': known are 'a:y'"),
        (b"a,y\n1,caf\xe9\n", "is not UTF-8 text"),
    ],
)
def test_a_bad_table_is_refused_with_column_and_line(table, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(table(content), target="y")
    assert "table.csv" in str(caught.value)


def test_a_missing_target_lists_the_columns_and_suggests(table):
    path = table("area,price\n1,2\n")
    with pytest.raises(ValueError, match="has no column 'pirce': known are 'area', 'price'; did you mean 'price'"):
        load(path, target="pirce")
    with pytest.raises(ValueError, match="needs the name of its target column: pass target= one of 'area', 'price'"):
        load(path)


@pytest.mark.parametrize("mark", [";", "\t"])
def test_semicolons_and_tabs_separate_too(table, mark):
    path = table("a,b,y\n1,2,p\n3,4,q\n".replace(",", mark))
    assert everything(path, target="y").features == ("a", "b")


WIDE = "id,a,city,b,y\n1,10,Bonn,30,p\n2,20,Ulm,40,q\n"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"drop": ["id", "city"]}, ("a", "b")),
        ({"columns": ("b", "a")}, ("b", "a")),
        ({"columns": ["a", "b", "city", "a"], "drop": ["city"]}, ("a", "b")),
    ],
)
def test_columns_are_chosen_or_left_out(table, choice, expected):
    dataset = everything(table(WIDE), target="y", **choice)
    assert dataset.features == expected
    assert dataset.train["x"][0].tolist() == [{"a": 10, "b": 30}[name] for name in expected]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({}, "column 'city' holds 'Bonn': expected a finite number; pass drop= or columns= to leave the column out"),
        ({"drop": ["sity"]}, "drop: .*table.csv has no column 'sity': .*did you mean 'city'"),
        ({"columns": ["A"]}, "columns: .* has no column 'A': .*did you mean 'a'"),
        ({"columns": ["y"]}, "columns: 'y' is the target column"),
        ({"columns": []}, "is left without columns"),
        ({"drop": ["id", "a", "city", "b"]}, "is left without columns"),
    ],
)
def test_a_choice_of_columns_that_cannot_be_is_refused(table, choice, message):
    with pytest.raises(ValueError, match=message):
        everything(table(WIDE), target="y", **choice)


NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp", "Nd"]), min_size=2).map("c_".__add__)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, WORDS), min_size=1, max_size=20),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_is_written_is_read(tmp_path_factory, rows, quoting):
    path = tmp_path_factory.mktemp("round") / "trip.csv"
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting).writerows([("a", "b", "y"), *rows])
    path.write_bytes(text.getvalue().encode())
    dataset = everything(path, target="y")
    assert dataset.train["x"].tolist() == [[a, b] for a, b, _ in rows]
    assert [dataset.classes[label] for label in dataset.train["y"]] == [word for _, _, word in rows]
    assert list(dataset.classes) == sorted(set(dataset.classes))


def refusal(path):
    """Why a table is refused, or ``None`` where it is read."""
    try:
        rows = everything(path, target="y").train
    except ValueError as error:
        return str(error)
    return None if len(rows["y"]) == len(rows["x"]) > 0 else "read without rows"


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_by_name(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "noise.csv"
    path.write_bytes(b"a,y\n" + content)
    assert "noise.csv" in (refusal(path) or "noise.csv")


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ('review;mood\n"great, joy";1\n', ("review", "mood")),
        ('"review";"mood, of all"\n"great, joy";1\n', ("review", "mood, of all")),
        ('"review"\t"mood"\n"great; joy"\t1\n', ("review", "mood")),
        ('\n"re;view","mood\n;"\n"great; joy",1\n', ("re;view", "mood\n;")),
        ('re"view; of "",mood\n1;2,1\n', ('re"view; of ""', "mood")),
        ('"re;view"\nsome; text\n', ("re;view",)),
    ],
)
def test_the_header_says_what_separates_cells(table, content, names):
    assert read_table(table(content)).names == names
    assert read_table(table(content.replace("\n", "\r\n"))).names == tuple(n.replace("\n", "\r\n") for n in names)


@pytest.mark.parametrize("encoding", ["utf-8", "UTF8", "utf_8", "u8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_byte_order_mark_is_no_part_of_a_name(table, encoding):
    mark = "" if encoding in ("utf-8-sig", "utf-16") else "\ufeff"
    assert read_table(table(f"{mark}caf\xe9,y\n1,2\n".encode(encoding)), encoding).names == ("caf\xe9", "y")


def test_a_long_text_in_a_cell_is_no_damage(table):
    before = csv.field_size_limit()
    (row,) = read_table(table(f"text,y\n{'long ' * 40_000},1\n")).rows
    assert len(row[0]) == 199_999
    assert csv.field_size_limit() == before


def test_a_column_of_texts_has_a_reader_of_its_own(table):
    with pytest.raises(ValueError, match=r"to leave the column out, or read its texts by data.labelled_texts"):
        load(table("review,y\ngreat,1\nbad,0\n"), target="y")
