import json
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.cli.processes import environment

from stepax.cli import generate
from stepax.cli.generate import beginning
from stepax.cli.options import Generate
from stepax.text import byte_pairs, characters, words


def test_it_goes_on_with_a_prompt_as_it_was_trained_to(call, play_run):
    done = call("generate", play_run, "--prompt", "once upon", "--length", 60, "--temperature", 0.1)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("once upon a midnight dreary\n")
    assert len(done.out) == len("once upon") + 60 + 1


def test_texts_are_written_as_they_come(call, play_run, monkeypatch):
    written = []
    monkeypatch.setattr(generate.sys.stdout, "flush", lambda: written.append(1))
    assert call("generate", play_run, "--length", 50).status == 0
    assert len(written) >= 4  # chunks of 16


def test_equal_seeds_give_equal_texts_and_several_samples_differ(call, play_run):
    first, again, other = (
        json.loads(
            call("generate", play_run, "--length", 30, "--temperature", 2, "--samples", 2, "--seed", seed, "--json").out
        )
        for seed in (0, 0, 1)
    )
    assert first == again
    assert first["texts"] != other["texts"]
    assert first["texts"][0] != first["texts"][1]
    assert (first["prompt"], first["seed"], len(first["texts"])) == (None, 0, 2)
    plain = call("generate", play_run, "--length", 30, "--temperature", 2, "--samples", 2).out
    assert plain == "\n---\n".join(first["texts"]) + "\n"


def test_a_prompt_longer_than_the_context_goes_on_from_its_end(call, play_run):
    prompt = "the rest is silence\nall that glit"
    done = call("generate", play_run, "--prompt", prompt, "--length", 22, "--temperature", 0)
    assert done.out.startswith(prompt + "ters is not gold\n")


def test_likeliest_tokens_alone(call, play_run):
    greedy, one = (
        call("generate", play_run, "--length", 40, *choice).out for choice in (("--temperature", 0), ("--top-k", 1))
    )
    assert greedy == one
    assert call("generate", play_run, "--length", 40, "--top-p", 1e-6).out == greedy


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prompt", "Ünder €"), "--prompt: the model does not know 'Ü', '€'"),
        (
            ("--prompt", "a\udcff"),
            "--prompt: expected Unicode, got half of a pair of surrogates, '\\udcff', as character 2",
        ),
        (("--length", 0), "--length: expected at least 1, got 0"),
        (("--samples", 0), "--samples: expected at least 1, got 0"),
        (("--temperature", -1), "--temperature: expected a number of at least 0, got -1.0"),
        (("--top-k", 0), "--top-k: expected at least 1, got 0"),
        (("--top-k", 1000), "as many tokens as there are, got 1000"),
        (("--top-p", 0), "--top-p: expected a number above 0 and at most 1, got 0.0"),
    ],
)
def test_options_out_of_range_are_refused(call, play_run, options, message):
    done = call("generate", play_run, *options)
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_run_that_is_no_language_model_says_what_it_is(call, iris_run, prices_run, reviews_run):
    answers = {iris_run: "iris, to answer with 3 classes", prices_run: "prices, to answer with numbers"}
    for run, what in (answers | {reviews_run: "reviews, to answer with 2 classes"}).items():
        done = call("generate", run)
        assert (done.status, done.err) == (2, f"error: {run} is no language model: it was trained on {what}\n")


def test_without_a_prompt_a_text_begins_after_a_line_break_or_a_full_stop():
    lines, sentences, neither = characters("a\n."), words("a b. c"), characters("ab")
    assert beginning(lines, None) == beginning(lines, "") == lines.encode("\n")
    assert beginning(sentences, None) == sentences.encode(".")
    assert beginning(neither, None) == neither.encode("a")
    assert beginning(neither, "ba") == neither.encode("ba")


def test_a_prompt_without_words_is_refused():
    with pytest.raises(ValueError, match="--prompt: expected a text with something in it, got '  '"):
        beginning(words("a b"), "  ")


def test_many_unknown_characters_are_counted():
    with pytest.raises(ValueError, match=r"--prompt: the model does not know 'a', .*'h' and 2 others"):
        beginning(characters("x"), "abcdefghij")


class Letters:
    """A vocabulary whose tokens are bytes."""

    def decode(self, tokens):
        return bytes(tokens).decode("utf-8", errors="replace")


def test_no_half_of_a_character_is_written(monkeypatch):
    text = "a€𝄞b".encode()
    monkeypatch.setattr(
        "stepax.text.generation.stream", lambda *_, **__: (np.array([[byte]]) for byte in text + b"\xe2")
    )
    run = type("Run", (), {"built": type("Built", (), {"module": None}), "state": type("State", (), {"params": None})})
    found = list(generate.pieces(run, Letters(), [65], Generate(run="run"), 0, []))
    assert found == ["a", "€", "𝄞", "b", "\ufffd"]


def test_a_reader_that_has_enough_ends_it(tmp_path, play_run):
    command = f"{sys.executable} -m stepax generate {play_run} --length 100000 | head -c 20; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    assert done.stdout[20:] == "0\n"


def test_ctrl_c_ends_the_line(call, play_run, monkeypatch):
    def interrupted(*_):
        yield "to be"
        raise KeyboardInterrupt

    monkeypatch.setattr(generate, "pieces", interrupted)
    done = call("generate", play_run)
    assert (done.status, done.out, done.err) == (130, "to be\n", "interrupted\n")


def written(monkeypatch, known, prompt, tokens, chunk):
    """The pieces in which tokens are written that come in chunks, and what they are as a whole."""
    chunks = [np.array([tokens[i : i + chunk]]) for i in range(0, len(tokens), chunk)]
    monkeypatch.setattr("stepax.text.generation.stream", lambda *_, **__: iter(chunks))
    run = type("Run", (), {"built": type("Built", (), {"module": None}), "state": type("State", (), {"params": None})})
    found = list(generate.pieces(run, known, prompt, Generate(run="run"), 0, []))
    return found, known.decode([*prompt, *tokens])[len(known.decode(prompt)) :]


WIDE = "für Elise: 20 €, 𝄞 naïve\ufffd \ufffd\ufffd\n"


@pytest.mark.parametrize("chunk", [1, 2, 7, 16])
@pytest.mark.parametrize("kind", [characters, words, lambda text: byte_pairs(text * 9, 300)])
def test_pieces_are_the_whole_however_it_is_cut(monkeypatch, kind, chunk):
    if kind not in (characters, words):
        pytest.importorskip("tokenizers")
    known, rng = kind(WIDE), np.random.default_rng(0)
    prompt = known.encode("für €")
    # Of a text, and by chance: halves of characters, and bytes that are none.
    for tokens in (known.encode(WIDE * 3), rng.integers(2, len(known), 200).tolist()):
        found, whole = written(monkeypatch, known, prompt, tokens, chunk)
        assert "".join(found) == whole


def test_what_is_settled_is_not_decoded_again(monkeypatch):
    class Counted:
        """Characters, with a count of those that were decoded."""

        seen = 0

        def decode(self, tokens):
            self.seen += len(tokens)
            return "a" * len(tokens)

    known = Counted()
    written(monkeypatch, known, [2] * 100, [2] * 10_000, 10)
    assert known.seen < 60_000


@pytest.fixture
def lost_run(play_run, monkeypatch):
    """The run, whose parameters are no longer numbers."""
    opened = generate.open_run(play_run)
    lost = opened._replace(
        state=opened.state._replace(params=jax.tree.map(lambda leaf: leaf * jnp.nan, opened.state.params))
    )
    monkeypatch.setattr(generate, "open_run", lambda folder: lost)
    return play_run


def test_a_model_without_finite_answers_says_so(call, lost_run):
    warning = "the model has no finite answer: its training may have diverged\n"
    for choice in ((), ("--temperature", 0), ("--top-k", 3, "--top-p", 0.5)):
        done = call("generate", lost_run, "--prompt", "once", *choice)
        assert (done.status, done.out, done.err) == (0, "once\n", f"warning: for 1 of 1 text {warning}")
    done = call("generate", lost_run, "--samples", 2, "--json")
    assert (json.loads(done.out)["texts"], done.err) == (["", ""], f"warning: for 2 of 2 texts {warning}")


def test_no_token_is_drawn_that_stands_for_nothing(call, play_run):
    opened = generate.open_run(play_run)
    # So hot that all tokens are alike.
    known = len(generate.vocabulary(opened.plan.subject.tokens)) - 2
    text = json.loads(call("generate", play_run, "--length", 800, "--temperature", 1e6, "--json").out)["texts"][0]
    assert "\ufffd" not in text
    assert len(text) > 790  # blanks at the beginning are not shown
    assert len(set(text)) == known
