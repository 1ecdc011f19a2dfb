import pytest

from stepax.cli.reading import as_options, fingerprint, in_options, load, names, without_advice


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("a.csv needs a target: pass target= one of 'a'", "a.csv needs a target: pass --target one of 'a'"),
        ("like b.png; pass size=(height, width) to resize all", "like b.png; pass --size HEIGHT WIDTH to resize all"),
        ("size=(3, 4) does not apply to a.csv", "--size 3 4 does not apply to a.csv"),
        ("drop=('id',) does not apply to x.npz", "--drop 'id' does not apply to x.npz"),
        ("test_fraction=0.3 divides 4 rows", "--test-fraction 0.3 divides 4 rows"),
        ("test_fraction is 3.0: expected", "--test-fraction is 3.0: expected"),
        ("size: the height: expected at least 1", "--size: the height: expected at least 1"),
        ("pass resize=True to convert it", "pass --resize to convert it"),
        ("columns: a.csv has no column 'b'", "--columns: a.csv has no column 'b'"),
        ("/x/size=3/a.csv has no lines", "/x/size=3/a.csv has no lines"),
        ("target column 'y' holds ''", "target column 'y' holds ''"),
        ("text: a.csv has no column 'b'", "--text: a.csv has no column 'b'"),
        ("a text is empty; the text=1", "a text is empty; the --text 1"),
        ("pass encoding= ('cp1252'; --encoding on the command line)", "pass --encoding ('cp1252')"),
        (
            "pass drop= , or read its texts by data.labelled_texts",
            "pass --drop , or --text COLUMN to learn from its texts",
        ),
    ],
)
def test_arguments_are_told_as_options(said, told):
    assert in_options(said) == told


@pytest.mark.parametrize("kind", [ValueError, TypeError])
def test_the_kind_of_error_stays(kind):
    with pytest.raises(kind, match="--size"), as_options():
        raise kind("size: wrong")


def test_a_fingerprint_tells_a_change_of_a_file_or_folder(tmp_path):
    file = tmp_path / "a" / "x.csv"
    file.parent.mkdir()
    file.write_text("one")
    before = [fingerprint(str(path)) for path in (file, tmp_path)]
    assert before == [fingerprint(str(path)) for path in (file, tmp_path)]
    assert before[0]["bytes"] == 3
    file.write_text("other")
    assert all(fingerprint(str(path)) != old for path, old in zip((file, tmp_path), before, strict=True))
    assert fingerprint("iris") is None


def test_data_and_texts_are_read_by_one_name(reviews):
    assert {"digits", "trec", "tinyshakespeare"} <= {*names()}
    assert load("iris", {"test_fraction": 0}).classes == ("setosa", "versicolor", "virginica")
    assert load(str(reviews), {"text": "review", "target": "mood"}).classes == ("bad", "good")
    with pytest.raises(ValueError, match=r"unknown data set 'trek': .*'digits', .*'trec'.*; did you mean 'trec'"):
        load("trek", {})


@pytest.mark.parametrize(
    "text",
    [
        "a.csv has no column 'b'; pass --drop",
        "--columns: a.csv has no column 'b'",
        "--text: a.csv has no column 'b'",
        "--target: a.csv has no column 'b'",
        "a.csv has no column 'b'",
        "a.csv has no column 'b'; change it, or set it to 0 to train on all",
    ],
)
def test_what_a_training_could_do_is_no_advice_afterwards(text):
    assert without_advice(text) == "a.csv has no column 'b'"


@pytest.mark.parametrize(
    "text",
    [
        "t.txt, byte 1 is fc: not utf-8; for a text in another encoding pass --encoding ('x')",
        "--encoding: t.txt cannot be read as 'x'",
    ],
)
def test_an_encoding_can_be_given_at_any_time(text):
    assert without_advice(text) == text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("t.csv", "to leave the column out, or --text COLUMN to learn from its texts$"),
        ("t.pdf", "expected .csv, .npz or a folder of class folders of images, or a .txt file$"),
    ],
)
def test_texts_are_among_what_there_is(tmp_path, name, message):
    (tmp_path / name).write_text("review,y\ngreat,1\nbad,0\n")
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / name), {"target": "y"} if name.endswith("csv") else {})
