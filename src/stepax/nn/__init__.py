"""Flax modules used by more than one domain, and what belongs to them."""

from stepax.nn import filters
from stepax.nn.activations import elu, leaky_relu, maxout, relu, sigmoid, softmax, tanh
from stepax.nn.cnn import CNN
from stepax.nn.features import feature_maps
from stepax.nn.mlp import MLP
from stepax.nn.perceptron import Perceptron, rosenblatt
from stepax.nn.shapes import conv_output_size

__all__ = [
    "CNN",
    "MLP",
    "Perceptron",
    "conv_output_size",
    "elu",
    "feature_maps",
    "filters",
    "leaky_relu",
    "maxout",
    "relu",
    "rosenblatt",
    "sigmoid",
    "softmax",
    "tanh",
]
