"""Fashion-MNIST: a convolutional network with batch normalisation and dropout, and the multi-layer perceptron
256-128-100.

    python examples/vision_fashion.py                 # 3 seeds of the CNN, 5 of the MLP: about an hour on two cores
    python examples/vision_fashion.py --tune          # one seed, measured on 5,000 training images that are held out

Expected: the CNN classifies 93.4 % of the test images or more (published: two convolutions with pooling and batch
normalisation, 93.4 %), the MLP 88.3 % (published: 88.33 %). The settings were chosen with ``--tune``, never on the
test set.

Reference: Xiao, Rasul and Vollgraf, Fashion-MNIST, 2017, arXiv:1708.07747, and the table of results in the data set's
repository.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

import stepax as sx

LONG = True
CLAIMS = [
    {
        "what": "Fashion-MNIST, CNN with batch normalisation and dropout",
        "number": "cnn",
        "published": "93.4 %",
        "source": "Xiao et al., benchmark table, 2 convolutions + pooling + BN",
        "low": 0.934,
        "format": ".2%",
    },
    {
        "what": "Fashion-MNIST, MLP 256-128-100",
        "number": "mlp",
        "published": "88.33 %",
        "source": "Xiao et al., benchmark table",
        "low": 0.883,
        "format": ".2%",
    },
]


def mirrored(model: sx.Model) -> sx.Model:
    """The model, shown half of its training images from the other side: a shoe may point either way."""

    def apply(params, variables, x, *, train, key):
        if train:
            flip_key, key = jax.random.split(key)
            flip = jax.random.bernoulli(flip_key, 0.5, (x.shape[0], 1, 1, 1))
            x = jnp.where(flip, x[:, :, ::-1], x)
        return model.apply(params, variables, x, train=train, key=key)

    return sx.Model(model.init, apply)


def convolutional(steps: int, train) -> sx.Learner:
    """Four convolutions in three stages, mirrored images, a warm-up and a cosine to zero."""
    network = sx.nn.CNN(features=(32, (64, 64), 128), dense=(256,), normalize=True, dropout=0.3)
    model = mirrored(sx.scaled(network, pixels(train)))
    rate = optax.warmup_cosine_decay_schedule(1e-4, 3e-3, steps // 10, steps)
    return sx.supervised(
        model, sx.losses.cross_entropy, optax.adamw(rate, weight_decay=0.02), metrics={"accuracy": sx.metrics.accuracy}
    )


def perceptron(steps: int, train) -> sx.Learner:
    """The MLP of the published table."""
    model = sx.scaled(sx.nn.MLP((256, 128, 100, 10)), pixels(train))
    rate = optax.cosine_decay_schedule(1e-3, steps)
    return sx.supervised(model, sx.losses.cross_entropy, optax.adam(rate), metrics={"accuracy": sx.metrics.accuracy})


def pixels(train) -> sx.data.Scaling:
    """One mean and scale for all pixels: single ones are constant in the corners."""
    return sx.data.Scaling(np.float32(train["x"].mean()), np.float32(train["x"].std()))


def accuracies(make, train, test, seeds: int, epochs: int, batch_size: int) -> list[float]:
    """Test accuracy of one run per seed."""
    steps = epochs * -(-len(train["x"]) // batch_size)
    learner = make(steps, train)
    runs = (
        sx.fit(learner, train, key=jax.random.key(seed), epochs=epochs, batch_size=batch_size) for seed in range(seeds)
    )
    return [sx.evaluate(learner, run.state, test)["accuracy"] for run in runs]


def main(
    cnn_seeds: int = 3,
    mlp_seeds: int = 5,
    cnn_epochs: int = 12,
    mlp_epochs: int = 20,
    batch_size: int = 128,
    limit: int | None = None,
    tune: bool = False,
) -> dict[str, list[float]]:
    """Trains both networks.

    Args:
        cnn_seeds: Runs of the CNN.
        mlp_seeds: Runs of the MLP.
        cnn_epochs: Epochs of the CNN.
        mlp_epochs: Epochs of the MLP.
        batch_size: Examples a step.
        limit: Training images to use; None takes all.
        tune: Measure on the last 5,000 training images instead of the test set, and do not train on them.

    Returns:
        Test accuracies by network, one per seed.
    """
    train, test = sx.data.load("fashion_mnist")
    if tune:
        train, test = (
            {name: values[part] for name, values in train.items()} for part in (slice(-5000), slice(-5000, None))
        )
    if limit is not None:
        train = {name: values[:limit] for name, values in train.items()}
    found = {
        "cnn": accuracies(convolutional, train, test, cnn_seeds, cnn_epochs, batch_size),
        "mlp": accuracies(perceptron, train, test, mlp_seeds, mlp_epochs, batch_size),
    }
    for name, values in found.items():
        if values:
            print(f"{name}: accuracy {np.mean(values):.4f} ± {np.std(values):.4f} over {len(values)} seeds")
    return found


if __name__ == "__main__":
    tyro.cli(main)
