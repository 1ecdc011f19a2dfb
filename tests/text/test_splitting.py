import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepax.text import clean_english, split_blanks, split_english, split_words
from stepax.text.splitting import SPLITS

ENGLISH = st.text(st.sampled_from("abnstvred'`!?(), .LO9é-\n"), max_size=40)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Don't panic!", ["don't", "panic", "!"]),
        ("  l’été\n3,5 % — x_1 ", ["l’été", "3", ",", "5", "%", "—", "x_1"]),
        ("'quoted' rock 'n' roll's", ["'", "quoted", "'", "rock", "'", "n", "'", "roll's"]),
        ("...", [".", ".", "."]),
        (" \t\n", []),
    ],
)
def test_words_and_marks(text, parts):
    assert split_words(text) == parts


def test_blanks_alone_divide():
    assert split_blanks(" A  b-c'd\n!") == ["A", "b-c'd", "!"]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("It isn't (quite) 50%, is it?", "it is n't ( quite ) 50 , is it ?"),
        ("I've they're he'd we'll it's", "i 've they 're he 'd we 'll it 's"),
        ('naïve; film-maker: "ok" `quote`.', "na ve film maker ok `quote`"),
        ("effective but too-tepid biopic", "effective but too tepid biopic"),
        (" -- \n.", ""),
    ],
)
def test_english_is_cleaned_by_hand(text, cleaned):
    assert clean_english(text) == cleaned
    assert split_english(text) == cleaned.split()


def in_turn(text):
    """The same rules, one after the other."""
    text = "".join(c if (c.isascii() and c.isalnum()) or c in "(),!?'`" else " " for c in text)
    for ending in ("'s", "'ve", "n't", "'re", "'d", "'ll"):
        text = text.replace(ending, " " + ending)
    for mark in ",!()?":
        text = text.replace(mark, f" {mark} ")
    return re.sub(" +", " ", text).strip()


@given(ENGLISH)
def test_english_is_cleaned_as_by_the_rules_in_turn(text):
    assert clean_english(text, lower=False) == in_turn(text)
    assert clean_english(text) == in_turn(text).lower()


@pytest.mark.parametrize("name", sorted(SPLITS))
@given(st.text() | ENGLISH)
def test_a_part_stays_as_it_is_when_it_is_split_again(name, text):
    split = SPLITS[name]
    if name == "english":
        # Kim's rules look for endings before capitals become small letters: "I'LL" is one word, "I'll" two.
        text = text.lower()
    assert all(split(part) == [part] for part in split(text))
