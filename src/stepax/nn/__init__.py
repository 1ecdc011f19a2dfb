"""Flax modules used by more than one domain, and what belongs to them."""

from stepax.nn import filters
from stepax.nn.activations import elu, leaky_relu, maxout, relu, sigmoid, softmax, tanh
from stepax.nn.cnn import CNN
from stepax.nn.convolution import Conv
from stepax.nn.dense import Dense
from stepax.nn.dropout import Dropout
from stepax.nn.features import feature_maps
from stepax.nn.mlp import MLP
from stepax.nn.normalization import BatchNorm
from stepax.nn.perceptron import Perceptron, rosenblatt
from stepax.nn.recurrent import GRU, LSTM, RNN
from stepax.nn.shapes import conv_output_size
from stepax.nn.tcn import TCN, receptive_field
from stepax.nn.transformer import Attention, Block, Decoder

__all__ = [
    "CNN",
    "GRU",
    "LSTM",
    "MLP",
    "RNN",
    "TCN",
    "Attention",
    "BatchNorm",
    "Block",
    "Conv",
    "Decoder",
    "Dense",
    "Dropout",
    "Perceptron",
    "conv_output_size",
    "elu",
    "feature_maps",
    "filters",
    "leaky_relu",
    "maxout",
    "receptive_field",
    "relu",
    "rosenblatt",
    "sigmoid",
    "softmax",
    "tanh",
]
