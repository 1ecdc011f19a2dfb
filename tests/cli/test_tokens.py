from dataclasses import replace

import numpy as np
import pytest

from stepax import text
from stepax.cli.plan import Subject
from stepax.cli.texts import characters, objects
from stepax.cli.tokens import as_rows, batch_of, encoded, fitted, note_lost, vocabulary
from stepax.record import RunError


def text_rows(whole):
    x = characters(whole)
    return {"x": x, "y": x}


def rows(*texts):
    return {"x": objects(texts), "y": np.arange(len(texts)) % 2}


def subject(form, found):
    kind, shape = ("tokens", (found.context,)) if form == "text" else ("binary", ())
    return Subject("t", {}, "t", kind, (found.context,), shape, None, None, found.tokens)


def test_a_text_becomes_windows_of_the_characters_that_its_training_part_has():
    found = fitted("text", text_rows("abcab"), None, None, 2)
    assert found.tokens["tokens"] == ["a", "b", "c"]
    test = encoded(subject("text", found), text_rows("cabd"))
    assert vocabulary(found.tokens).decode(test.stream) == "cab\ufffd"
    np.testing.assert_array_equal(test.rows["x"], [[4, 2], [3, 0]])
    np.testing.assert_array_equal(test.rows["y"], [[2, 3], [1, 0]])
    np.testing.assert_array_equal(test.rows["weight"], [[1, 1], [1, 0]])
    assert (test.unknown, test.total, test.cut) == (1, 4, 0)


def test_texts_are_padded_to_the_longest_and_later_ones_are_cut():
    found = fitted("texts", rows("one two", "one two three"), None, None, None)
    assert found.context == 3
    test = encoded(subject("texts", found), rows("two", "three two one zero", ""))
    known = vocabulary(found.tokens)
    assert [known.decode(row) for row in test.rows["x"]] == ["two", "three two one", "\ufffd"]
    assert (test.rows["x"].shape, test.cut, test.unknown) == ((3, 3), 1, 2)
    np.testing.assert_array_equal(test.rows["y"], [0, 1, 0])


@pytest.mark.parametrize(("form", "none"), [("texts", rows()), ("text", text_rows(""))])
def test_no_texts_are_no_rows(form, none):
    found = fitted("texts", rows("one two"), None, None, None)
    assert len(as_rows(subject(form, found), none)["x"]) == 0


def test_rows_of_numbers_stay_as_they_are():
    own = {"x": np.zeros((2, 3)), "y": np.zeros(2)}
    assert as_rows(Subject("t", {}, "t", "binary", (3,), (), None, None), own) is own


@pytest.mark.parametrize(
    ("tokens", "most", "expected"),
    [
        ("characters", None, [" ", "a", "b"]),
        ("characters", 2, ["a", " "]),
        ("words", 1, ["aa"]),
        (None, 9, ["aa", "b"]),
    ],
)
def test_the_most_frequent_tokens_are_kept(tokens, most, expected):
    assert fitted("texts", rows("aa b aa b aa"), tokens, most, None).tokens["tokens"] == expected


def test_the_longest_texts_set_the_context_up_to_a_bound():
    assert fitted("texts", rows("a " * 1000), None, None, None).context == 400
    assert fitted("texts", rows("a " * 1000), None, None, 500).context == 500


def test_byte_pairs_know_every_text():
    pytest.importorskip("tokenizers")
    found = fitted("text", text_rows("to be or not to be" * 9), "byte-pairs", 300, 4)
    test = encoded(subject("text", found), text_rows("für Elise"))
    assert vocabulary(found.tokens).decode(test.stream) == "für Elise"
    assert test.unknown == 0
    with pytest.raises(ValueError, match="--vocabulary: expected at least 258"):
        fitted("text", text_rows("to be or not to be" * 9), "byte-pairs", 20, 4)


def test_without_their_library_byte_pairs_say_what_they_need(monkeypatch):
    def absent(*_):
        raise ModuleNotFoundError("byte pairs need the library tokenizers")

    monkeypatch.setattr(text, "byte_pairs", absent)
    monkeypatch.setattr(text, "from_json", absent)
    with pytest.raises(ValueError, match="--tokens byte-pairs: byte pairs need the library tokenizers"):
        fitted("text", text_rows("to be"), "byte-pairs", 300, 2)
    with pytest.raises(RunError, match="byte pairs need the library tokenizers"):
        vocabulary({})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((None, None, 5), "--context: the part of the text to learn from has 5 tokens, not more than the 5 of the"),
        ((None, None, 0), "--context: expected at least 1, got 0"),
        ((None, 0, 2), "--vocabulary: expected at least 1, got 0"),
    ],
)
def test_what_a_text_cannot_give_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        fitted("text", text_rows("abcab"), *given)


def test_a_part_of_one_token_has_none_that_follows():
    found = fitted("text", text_rows("abcab"), None, None, 2)
    with pytest.raises(
        ValueError, match=r"^the text has one token only: expected at least two, one to follow the other$"
    ):
        encoded(subject("text", found), text_rows("a"))
    with pytest.raises(ValueError, match=r"^the end has one token only: .* the other; pass more$"):
        encoded(subject("text", found), text_rows("a"), "the end", "; pass more")


def test_windows_are_measured_in_batches_whose_outputs_fit():
    found = fitted("text", text_rows("abcab"), None, None, 2)
    small = subject("text", found)
    assert batch_of(small, 65) == 256
    assert batch_of(replace(small, shape=(64,)), 10_000) == 6
    assert batch_of(replace(small, shape=(10_000,)), 10_000) == 1


def test_what_is_lost_is_told(capsys):
    found = fitted("texts", rows("one two", "one two three"), None, None, 2)
    for texts in (("one two",), ("one two three",), ("one", "four two three", "five one")):
        note_lost(subject("texts", found), encoded(subject("texts", found), rows(*texts)))
    assert capsys.readouterr().err.splitlines() == [
        "warning: the text is longer than the 2 tokens that the model sees, and cut",
        "warning: 1 of 3 texts are longer than the 2 tokens that the model sees, and cut",
        "warning: 33.3% of 6 tokens are unknown to the model",
    ]
