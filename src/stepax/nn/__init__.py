"""Flax modules used by more than one domain, and what belongs to them."""

from stepax.nn import filters, positions
from stepax.nn.activations import elu, leaky_relu, maxout, relu, sigmoid, softmax, tanh
from stepax.nn.attention import Attention, CrossAttention, KeyValue
from stepax.nn.block import Block, post_norm, pre_norm
from stepax.nn.cnn import CNN
from stepax.nn.convolution import Conv
from stepax.nn.dense import Dense
from stepax.nn.dropout import Dropout
from stepax.nn.encoder import Encoder
from stepax.nn.features import feature_maps
from stepax.nn.layers import Stack, scanned, stacked_parameters, unrolled, unstacked_parameters
from stepax.nn.mlp import MLP
from stepax.nn.normalization import BatchNorm
from stepax.nn.perceptron import Perceptron, rosenblatt
from stepax.nn.positions import Positions
from stepax.nn.recurrent import GRU, LSTM, RNN
from stepax.nn.shapes import conv_output_size
from stepax.nn.tcn import TCN, receptive_field
from stepax.nn.transformer import Decoder, Reading, Transformer

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
    "CrossAttention",
    "Decoder",
    "Dense",
    "Dropout",
    "Encoder",
    "KeyValue",
    "Perceptron",
    "Positions",
    "Reading",
    "Stack",
    "Transformer",
    "conv_output_size",
    "elu",
    "feature_maps",
    "filters",
    "leaky_relu",
    "maxout",
    "positions",
    "post_norm",
    "pre_norm",
    "receptive_field",
    "relu",
    "rosenblatt",
    "scanned",
    "sigmoid",
    "softmax",
    "stacked_parameters",
    "tanh",
    "unrolled",
    "unstacked_parameters",
]
