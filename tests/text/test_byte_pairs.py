import importlib
import json
import os
import pathlib
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stepax import text

pytest.importorskip("tokenizers", reason="tokenizers is not here: it comes with the extra `text`")

ENGLISH = "the cat sat on the mat, the cat ate the rat; that is that. " * 3
PAIRS = text.byte_pairs(ENGLISH, 270)
BOUNDED = text.byte_pairs(ENGLISH, 270, begin=True, end=True)


def saved(pairs):
    """Through JSON and back."""
    return text.from_json(json.loads(json.dumps(pairs.to_json())))


def test_the_most_frequent_pair_is_the_first_that_is_joined():
    assert len(text.byte_pairs("abab abab ab", 260)) == 260
    joined = text.byte_pairs("abab abab ab", 260)
    assert joined.merges[0] == ("a", "b")
    assert joined.decode([joined.encode("ab")[0]]) == "ab"
    assert len(joined.encode("ab")) == 1


def test_there_are_at_most_as_many_tokens_as_wished():
    assert (len(PAIRS), len(BOUNDED)) == (270, 270)
    assert len(text.byte_pairs("ab ab", 1000)) == 2 + 256 + 1
    assert len(PAIRS.encode("the cat")) < len("the cat")


@pytest.mark.parametrize("pairs", [PAIRS, BOUNDED, saved(BOUNDED)], ids=["plain", "bounded", "saved"])
@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
@example(" the  cat\r\n\t<pad> </s> [UNK] Ġ\ufeff\u200d é e\u0301 👩‍👧 \0")
def test_every_text_comes_back_as_it_was(pairs, one):
    tokens = pairs.encode(one)
    assert pairs.decode(tokens) == one
    assert all(1 < token < len(pairs) for token in tokens)
    assert pairs.unknown_in(one) == []


def test_begin_and_end():
    tokens = BOUNDED.encode("the")
    assert (tokens[0], tokens[-1]) == (2, 3)
    assert min(tokens[1:-1]) >= 4
    assert BOUNDED.decode([*tokens, 0, 0, *tokens]) == "the"
    assert BOUNDED.encode("") == [2, 3]


def test_padding_unknown_and_half_characters_are_shown_as_what_they_are():
    tokens = PAIRS.encode("é")
    assert len(tokens) == 2
    assert PAIRS.decode([0, 1, *tokens, 0]) == "é"
    assert PAIRS.decode(tokens[:1]) == "\ufffd"
    with pytest.raises(ValueError, match=r"tokens\[0\]: expected a number from 0 to 269, got 270"):
        PAIRS.decode([270])


def test_the_same_texts_give_the_same_tokens_and_what_is_saved_is_equal():
    assert text.byte_pairs(ENGLISH, 270) == PAIRS
    assert saved(PAIRS) == PAIRS
    assert saved(BOUNDED) == BOUNDED != PAIRS
    assert saved(PAIRS).encode(ENGLISH) == PAIRS.encode(ENGLISH)
    assert repr(PAIRS) == "BytePairs(270 tokens)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"begin": None}, r"vocabulary\['begin'\]: expected bool, got NoneType"),
        ({"tokens": PAIRS.to_json()["tokens"][:-1]}, "merges: expected pairs of tokens that give a token, got"),
        ({"tokens": PAIRS.to_json()["tokens"][1:]}, "tokens: expected all 256 bytes and each token once"),
        ({"tokens": [*PAIRS.to_json()["tokens"], PAIRS.tokens[-1]]}, "tokens: expected all 256 bytes and each token"),
        ({"tokens": [*PAIRS.to_json()["tokens"], "qq"]}, "merges: expected each pair once, and a pair for every token"),
        ({"tokens": [*PAIRS.to_json()["tokens"], 3]}, r"vocabulary\['tokens'\]: expected strings"),
        ({"merges": PAIRS.to_json()["merges"] * 2}, "merges: expected each pair once"),
        ({"merges": []}, "merges: expected each pair once, and a pair for every token of several bytes"),
        ({"merges": [["q", "q"]]}, r"merges: expected pairs of tokens that give a token, got \('q', 'q'\)"),
        ({"merges": ["th"]}, r"vocabulary\['merges'\]: expected pairs of strings"),
        ({"merges": [["t", "h", "e"]]}, r"vocabulary\['merges'\]: expected pairs of strings"),
        ({"model": {}}, "vocabulary: expected a dict with"),
    ],
)
def test_a_damaged_dict_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        text.from_json(PAIRS.to_json() | change)


def test_another_vocabulary_is_refused():
    with pytest.raises(ValueError, match=r"vocabulary\['split'\]: expected 'byte_pairs', got 'words'"):
        text.BytePairs.from_json(PAIRS.to_json() | {"split": "words"})


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: text.byte_pairs("ab", 257), ValueError, "size: expected at least 258, got 257"),
        (lambda: text.byte_pairs("ab", 259, end=True), ValueError, "size: expected at least 260, got 259"),
        (lambda: text.byte_pairs("ab", 300.0), TypeError, "size: expected a whole number"),
        (lambda: text.byte_pairs(["a", 1], 300), TypeError, r"texts\[1\]: expected a string, got int"),
        (lambda: text.byte_pairs(["a", "b\udfff"], 300), ValueError, r"texts\[1\]\[1\]: expected Unicode, got half of"),
        (lambda: PAIRS.encode("\ud800"), ValueError, r"text\[0\]: expected Unicode, got half of a pair of surrogates"),
        (lambda: PAIRS.encode(3), TypeError, "text: expected a string, got int"),
    ],
)
def test_a_wrong_argument_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    importlib.import_module("stepax.text.byte_pairs")._alphabet.cache_clear()
    for need in (lambda: text.byte_pairs("ab", 300), lambda: text.from_json(PAIRS.to_json())):
        with pytest.raises(ModuleNotFoundError, match=r"which the extra `text` brings: pip install 'stepax\[text\]'"):
            need()


def test_the_library_is_loaded_when_it_is_needed():
    code = "import sys, stepax.text; assert 'tokenizers' not in sys.modules"
    paths = [str(pathlib.Path(__file__).parents[2] / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env=environment)
