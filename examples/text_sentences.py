"""Sentences by a convolutional network that starts from random vectors: movie reviews, questions, subjectivity, and
customer reviews.

    python examples/text_sentences.py                 # all four
    python examples/text_sentences.py --tune          # measured on the development data alone
    python examples/text_sentences.py --names trec    # one of them

Movie reviews (rt_polarity), subjectivity (subj) and customer reviews (cr) are cross-validated in ten folds, questions
(trec) have a published test split. Of each training part a random tenth is development data, which says when to stop;
a word that the rest of it has not, or only once, is the unknown word.

The settings were chosen by the accuracy on development data: of questions, taken from their training split; and of a
few folds of movie reviews, whose sentences are test data of other folds, so that the number of movie reviews is not
free of the choice. Those of questions, subjectivity and customer reviews are.

Expected: about 77 % of movie reviews, 90 % of questions, 91 % of subjectivity, 80 % of customer reviews, in 45 minutes
on two cores that other work shares.

Reference: Kim, Convolutional neural networks for sentence classification, 2014, arXiv:1408.5882, CNN-rand.
"""

import operator
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import stepax as sx

LONG = True
KIM = "Kim 2014, CNN-rand"
CLAIMS = [
    {
        "what": "Movie reviews, CNN from random vectors, ten folds",
        "number": "rt_polarity",
        "published": "76.1 %",
        "source": KIM,
        "low": 0.76,
        "format": ".1%",
    },
    {
        "what": "TREC questions, CNN from random vectors",
        "number": "trec",
        "published": "91.2 %",
        "source": KIM,
        "low": 0.905,
        "format": ".1%",
    },
    {
        "what": "Subjectivity, CNN from random vectors, ten folds",
        "number": "subj",
        "published": "89.6 %",
        "source": KIM,
        "low": 0.892,
        "format": ".1%",
    },
    {
        "what": "Customer reviews, CNN from random vectors, ten folds; they chose no setting",
        "number": "cr",
        "published": "79.8 %",
        "source": KIM,
        "low": 0.785,
        "format": ".1%",
    },
]
UNKNOWN = 1


def max_norm(most: float) -> optax.GradientTransformation:
    """Keeps the weights of each output within a length; the last of a chain.

    Reference: Hinton et al., Improving neural networks by preventing co-adaptation of feature detectors, 2012,
    arXiv:1207.0580.
    """

    def shortened(update: jax.Array, weights: jax.Array) -> jax.Array:
        after = weights + update
        length = jnp.sqrt(jnp.square(after).sum(0, keepdims=True))
        return after * jnp.minimum(1, most / jnp.maximum(length, most)) - weights

    def update(updates, state, params=None):
        return jax.tree.map(shortened, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def head(params):
    """True for the weights of the last layer alone."""
    others = jax.tree.map(lambda leaf: False, params)
    return {**others, "head": {**others["head"], "kernel": True}}


def make(vocabulary: int, classes: int, lengths: tuple[int, ...]) -> sx.Learner:
    """Kim's network and its constraint, by Adam; measured by an average of the parameters."""
    network = sx.text.TextCNN(vocabulary, classes, dropout_in=0.3)
    optimizer = optax.chain(optax.adam(1e-3), optax.masked(max_norm(3.0), head))
    learner = sx.supervised(network, sx.losses.cross_entropy, optimizer, metrics={"accuracy": sx.metrics.accuracy})
    return sx.trim(sx.average(learner, 0.99), lengths)


def parts(sentences: sx.data.Sentences, count: int, key: jax.Array) -> Iterator[tuple[np.ndarray, ...]]:
    """The rows of training, development and test data: for every fold, or ``count`` times of a published split."""
    labels, random = {"y": sentences.labels}, np.random.default_rng(jax.random.key_data(key).tolist())
    published = np.arange(len(sentences)) >= len(sentences) - sentences.held_out
    for number in range(count):
        test = published
        if not sentences.held_out:
            test = sx.folds(labels, count, batch_size=1, key=key).rows == number
        rest = random.permutation(np.flatnonzero(~test))
        cut = len(rest) // 10
        yield rest[cut:], rest[:cut], np.flatnonzero(test)


def accuracies(name: str, count: int, epochs: int, batch_size: int, limit: int | None, tune: bool) -> list[float]:
    """The accuracy of every fold, or run, on its test data; with ``tune`` on its development data."""
    sentences = sx.data.sentences(name)
    if limit is not None:
        sentences = sentences.take(np.random.default_rng(0).permutation(len(sentences))[:limit])
    vocabulary = sx.text.words(sentences.texts, least=2, split=sx.text.split_english)
    tokens = sx.text.padded([vocabulary.encode(text) or [UNKNOWN] for text in sentences.texts])
    lengths = tuple(np.unique(np.quantile((tokens != 0).sum(1), (0.25, 0.5, 0.75, 0.9, 1)).astype(int)).tolist())
    learner = make(len(vocabulary), len(sentences.classes), lengths)
    found = []
    for number, rows in enumerate(parts(sentences, count, jax.random.key(0))):
        # What the training part does not know is unknown, though the table has a row for it.
        known = np.bincount(tokens[rows[0]].ravel(), minlength=len(vocabulary)) > 1
        known[:2] = True
        x = np.where(known[tokens], tokens, UNKNOWN)
        train, development, test = ({"x": x[part], "y": sentences.labels[part]} for part in rows)
        keys = jax.random.split(jax.random.key(number), 3)
        run = sx.fit(
            learner,
            sx.bucketed(train, batch_size, keys[0], lengths),
            key=keys[1],
            epochs=epochs,
            batch_size=None,
            validation=sx.bucketed(development, 256, keys[2], lengths),
            patience=3,
            monitor="validation/accuracy",
            better=operator.gt,
            progress=False,
        )
        found.append(sx.evaluate(learner, run.state, development if tune else test)["accuracy"])
        print(f"{name} {number}: accuracy {found[-1]:.4f}, best of {run.record['best']}", flush=True)
    print(f"{name}: mean {np.mean(found):.4f} ± {np.std(found, ddof=1):.4f} over {count}")
    return found


def main(
    names: tuple[str, ...] = ("rt_polarity", "trec", "subj", "cr"),
    folds: int = 10,
    epochs: int = 25,
    batch_size: int = 50,
    limit: int | None = None,
    tune: bool = False,
) -> dict[str, list[float]]:
    """Trains the network for every fold of every data set.

    Args:
        names: Which data sets.
        folds: How many folds, or runs where there is a published test split.
        epochs: The most epochs of each.
        batch_size: Examples a step.
        limit: Sentences to use; None takes all.
        tune: Measure on the development data instead of the test data.

    Returns:
        Accuracies by data set, one per fold.
    """
    return {name: accuracies(name, folds, epochs, batch_size, limit, tune) for name in names}


if __name__ == "__main__":
    tyro.cli(main)
