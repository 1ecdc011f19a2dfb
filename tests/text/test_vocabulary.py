import json
from collections import Counter

import jax.numpy as jnp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stepax as sx
from stepax import text

TEXTS = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5)
FLAGS = st.booleans()


def saved(vocabulary):
    """Through JSON and back."""
    return text.from_json(json.loads(json.dumps(vocabulary.to_json())))


def test_characters_by_hand():
    letters = text.characters(["ba\n", "é"])
    assert letters.tokens == ("\n", "a", "b", "é")
    assert len(letters) == 6
    assert letters.encode("éa?") == [5, 3, 1]
    assert letters.decode(jnp.array([5, 0, 3, 1])) == "éa\ufffd"
    assert text.characters("ba\né") == letters


def test_begin_and_end_by_hand():
    both = text.characters("ab", begin=True, end=True)
    assert (both.encode("ba"), both.encode(""), len(both)) == ([2, 5, 4, 3], [2, 3], 6)
    assert both.decode([2, 5, 4, 3, 0, 0, 4]) == "ba"
    assert text.characters("ab", end=True).encode("ba") == [5, 4, 3]
    assert text.characters("ab", begin=True).encode("ba") == [2, 5, 4]


@settings(deadline=None)
@given(TEXTS, FLAGS, FLAGS)
def test_characters_come_back_as_they_were(texts, begin, end):
    letters = saved(text.characters(texts, begin=begin, end=end))
    for one in texts:
        tokens = letters.encode(one)
        assert letters.decode(tokens) == one
        assert all(0 < token < len(letters) for token in tokens)
        assert text.UNKNOWN not in tokens
        assert letters.unknown_in(one) == []


def test_words_are_sorted_by_their_number_and_then_by_the_alphabet():
    texts = ["b a b", "c, a; d"]
    assert text.words(texts).tokens == ("a", "b", ",", ";", "c", "d")
    assert text.words(texts, least=2).tokens == ("a", "b")
    assert text.words(texts, most=3).tokens == ("a", "b", ",")
    assert text.words(texts, least=2, most=1).tokens == ("a",)
    assert text.words("Ab ab").encode("AB xy") == [2, 1]


@settings(deadline=None)
@given(TEXTS, st.sampled_from([text.split_words, text.split_english, text.split_blanks]), FLAGS, FLAGS)
def test_words_come_back_as_they_were(texts, split, begin, end):
    counts = Counter(word for one in texts for word in split(one))
    if not counts:
        return
    known = saved(text.words(texts, split=split, begin=begin, end=end))
    assert len(known.tokens) == len(counts)
    for one in texts:
        assert split(known.decode(known.encode(one))) == split(one)
        assert known.encode(known.decode(known.encode(one))) == known.encode(one)
        assert known.unknown_in(one) == []


def test_what_is_lacking_is_listed_once():
    assert text.characters("abc").unknown_in("xaybx") == ["x", "y"]
    assert text.words("to be").unknown_in("Or not to be, or") == ["or", "not", ","]


def test_it_prints_its_size_and_compares_by_what_it_holds():
    assert repr(text.words("to be")) == "Vocabulary(4 tokens by split_words)"
    assert text.words("to be") != text.words("to be", split=text.split_blanks)
    assert hash(text.words("to be")) == hash(text.words("be to"))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: text.characters(["", ""]), ValueError, "texts: expected at least one character, got none"),
        (lambda: text.words(" \n"), ValueError, "texts: expected at least one word, got none"),
        (lambda: text.words("a b a", least=3), ValueError, "least: no word occurs 3 times: expected at most 2"),
        (lambda: text.words("a", least=0), ValueError, "least: expected at least 1, got 0"),
        (lambda: text.words("a", most=0), ValueError, "most: expected at least 1, got 0"),
        (lambda: text.words("a", split="words"), TypeError, "split: expected a function such as .*split_words"),
        (lambda: text.characters([1]), TypeError, r"texts\[0\]: expected a string, got int"),
        (lambda: text.characters("a\ud800"), ValueError, r"tokens\[1\]: expected one part of a text .*got '.ud800'"),
        (lambda: text.characters("a").encode(["a"]), TypeError, "text: expected a string, got list"),
        (lambda: text.characters("a").decode([3]), ValueError, r"tokens\[0\]: expected a number from 0 to 2, got 3"),
    ],
)
def test_a_wrong_argument_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_function_of_ones_own_is_used_and_not_saved():
    def by_commas(one):
        return one.split(",")

    own = text.words("a b,c,a b", split=by_commas)
    assert own.encode("c,a b") == [3, 2]
    with pytest.raises(ValueError, match=r"split: a vocabulary by .*by_commas.* cannot be saved"):
        own.to_json()


GOOD = text.words("to be or not to be", begin=True).to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "word"}, "vocabulary: unknown split 'word': known are .*did you mean 'words'"),
        ({"split": 3}, r"vocabulary\['split'\]: expected str, got int"),
        ({"begin": 1}, r"vocabulary\['begin'\]: expected bool, got int"),
        ({"tokens": "to be"}, r"vocabulary\['tokens'\]: expected list, got str"),
        ({"tokens": []}, "tokens: expected at least one, got none"),
        ({"tokens": ["to", 3]}, r"tokens\[1\]: expected one part of a text as `split` gives it, got 3"),
        ({"tokens": ["to", "be or"]}, r"tokens\[1\]: expected one part of a text"),
        ({"tokens": ["to", ""]}, r"tokens\[1\]: expected one part of a text"),
        ({"tokens": ["to", "be", "to"]}, "tokens: expected each once, got 'to' twice"),
        ({"split": "characters"}, r"tokens\[0\]: expected one part of a text as `split` gives it, got 'be'"),
        ({"more": 1}, "expected a dict with"),
    ],
)
def test_a_damaged_vocabulary_is_refused(change, message):
    assert text.from_json(GOOD).tokens == ("be", "to", "not", "or")
    with pytest.raises(ValueError, match=message):
        text.from_json(GOOD | change)


@pytest.mark.parametrize("value", [None, [], "words", {}, {"split": "words"}])
def test_what_is_no_vocabulary_is_refused(value):
    with pytest.raises(ValueError, match="vocabulary: expected a dict with"):
        text.from_json(value)


def test_the_corpus_comes_back(data_dir):
    if not (data_dir / "tinyshakespeare").is_dir():
        pytest.skip("tinyshakespeare is not in the folder of data sets")
    corpus = sx.data.corpus("tinyshakespeare")
    letters = text.characters(corpus)
    assert len(letters) == 67
    assert letters.decode(letters.encode(corpus)) == corpus


def test_sentences_have_the_published_number_of_words(data_dir):
    if not (data_dir / "rt_polarity").is_dir():
        pytest.skip("rt_polarity is not in the folder of data sets")
    cleaned = text.words(sx.data.sentences("rt_polarity").texts, split=text.split_english)
    assert len(cleaned.tokens) == 18765  # Kim 2014, table 1: |V| of MR is 18765
