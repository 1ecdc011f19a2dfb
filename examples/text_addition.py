"""Addition as translation: "535+61" becomes "596", character by character.

    python examples/text_addition.py            # 3 seeds: about ten minutes on two cores
    python examples/text_addition.py --tune     # measured on 5,000 of the questions to learn from, held out

Two numbers of one to three digits are added. A network reads the question backwards, as ones come first when one adds,
and writes the answer. It learns from 50,000 different questions, and is asked 5,000 others: no two of all these have
the same two numbers, in whatever order, as in the Keras example. Those asked are drawn last, when most of the short
ones are gone. What is counted here is whole answers that are right in every character and end where they should, and
not right characters, as there; and the answer is written by the network alone, by its likeliest characters (greedy) or
the likeliest answer that four beams find.

Each seed has questions of its own. The settings were chosen with ``--tune``, never on the questions that are asked.

Reference:
    The Keras example addition_rnn ("one layer LSTM (128 HN), 50k training examples = 99% train/test accuracy in 100
    epochs").
    Zaremba and Sutskever, Learning to execute, 2014, arXiv:1410.4615.
"""

import pathlib
from typing import Any

import jax
import numpy as np
import optax
import tyro

import stepax as sx
from stepax import text

LONG = True
DIGITS = 3
SOURCE = "Keras, addition_rnn; of characters"
CLAIMS = [
    {
        "what": "3-digit addition, LSTM with attention: whole answers",
        "number": "lstm",
        "published": "99 %",
        "source": SOURCE,
        "low": 0.99,
    },
    {"what": "the same, LSTM, four beams", "number": "lstm_beams"},
    {
        "what": "the same, Transformer: two layers and two",
        "number": "transformer",
        "published": "99 %",
        "source": SOURCE,
        "low": 0.99,
    },
    {"what": "the same, Transformer, four beams", "number": "transformer_beams"},
]
CLAIMS = [{"format": ".2%"} | claim for claim in CLAIMS]
QUESTION = text.characters("0123456789+")
ANSWER = text.characters("0123456789", begin=True, end=True)


def questions(count: int, seed: int) -> np.ndarray:
    """Pairs of numbers ``[count, 2]``, no two with the same ones; numbers of one digit are as likely as of three."""
    random = np.random.default_rng(seed)
    found = np.zeros((0, 2), np.int64)
    while len(found) < count:
        found = np.concatenate([found, random.integers(10 ** random.integers(1, DIGITS + 1, (2 * count, 2)))])
        first = np.unique(np.sort(found, axis=1), axis=0, return_index=True)[1]
        found = found[np.sort(first)]
    return found[:count]


def data(numbers: np.ndarray) -> dict[str, Any]:
    """Questions, backwards, and their answers as tokens."""
    asked = [QUESTION.encode(f"{a}+{b}"[::-1]) for a, b in numbers]
    return text.pairs(asked, [ANSWER.encode(str(a + b)) for a, b in numbers])


def make(name: str, steps: int) -> tuple[Any, sx.Learner]:
    """A network and its learner; the rate rises for a while and then falls as a cosine."""
    sizes = len(QUESTION), len(ANSWER)
    network = {
        "lstm": text.LSTMTranslator(*sizes, 128),
        "transformer": sx.nn.Transformer(*sizes, 64, layers=2, heads=4, context=2 * DIGITS + 2),
    }[name]
    schedule = optax.warmup_cosine_decay_schedule(0.0, 4e-3, min(300, steps // 2), steps)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))
    return network, sx.supervised(network, sx.losses.cross_entropy, optimizer)


def share_right(network: Any, params: Any, asked: dict[str, Any]) -> tuple[float, float]:
    """The share of whole answers that are right: the greedy ones, and the best of four beams."""
    source, right = asked["x"]["source"], asked["y"]
    tokens = text.greedy(network, params, source, right.shape[1])
    beams, _ = text.beam_search(network, params, source, right.shape[1], beams=4)
    return tuple(float((np.asarray(found) == right).all(1).mean()) for found in (tokens, beams[:, 0]))


def draw(network: Any, params: Any, asked: dict[str, Any], row: int, figure: pathlib.Path) -> None:
    """Where the network looks while it writes one answer."""
    x = {name: values[row : row + 1] for name, values in asked["x"].items()}
    weights = network.apply({"params": params}, x, method="attention_weights")[0]
    source, target = QUESTION.decode(x["source"][0]), ANSWER.decode(asked["y"][row])
    written, read = len(target) + 1, len(source)
    title = f"{source[::-1]} = {target}, read backwards"
    sx.plot.save(sx.plot.attention_map(weights[..., :written, :read], source, [*target, "end"], title=title), figure)


def main(
    seeds: int = 3,
    epochs: int = 15,
    transformer_epochs: int = 5,
    batch_size: int = 128,
    examples: int = 50_000,
    held_out: int = 5_000,
    networks: tuple[str, ...] = ("lstm", "transformer"),
    tune: bool = False,
    figure: pathlib.Path | None = None,
) -> dict[str, list[float]]:
    """Trains both networks once per seed.

    Args:
        seeds: How many runs of each.
        epochs: Epochs of the LSTM.
        transformer_epochs: Epochs of the Transformer.
        batch_size: Questions a step.
        examples: Questions to learn from.
        held_out: Questions that are asked.
        networks: Which ones.
        tune: Ask the last of the questions to learn from instead of the others, and do not learn from them.
        figure: Where to draw the attention of the first LSTM, and beside it, under a longer name, that of the first
            Transformer; None draws nothing.

    Returns:
        Shares of right answers, greedy and of four beams, one per seed.
    """
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        numbers = questions(examples + held_out, seed)[: examples if tune else None]
        train, asked = data(numbers[:-held_out]), data(numbers[-held_out:])
        for name in networks:
            count = epochs if name == "lstm" else transformer_epochs
            network, learner = make(name, count * -(-len(train["y"]) // batch_size))
            run = sx.fit(learner, train, key=jax.random.key(seed), epochs=count, batch_size=batch_size)
            by_greedy, by_beams = share_right(network, run.state.params, asked)
            found.setdefault(name, []).append(by_greedy)
            found.setdefault(f"{name}_beams", []).append(by_beams)
            seconds = run.record["seconds"]["run"]
            print(f"seed {seed}, {name}: {by_greedy:.4f}, four beams {by_beams:.4f}, {seconds:.0f} s", flush=True)
            if figure is not None and seed == 0:
                longest = int((asked["x"]["source"] != 0).sum(1).argmax())
                own = figure if name == "lstm" else figure.with_stem(f"{figure.stem}_{name}")
                draw(network, run.state.params, asked, longest, own)
    return found


if __name__ == "__main__":
    tyro.cli(main)
