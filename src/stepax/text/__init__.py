"""Text: vocabularies and batches, models that classify, continue and translate texts, and what they write."""

from stepax.text.batches import padded, pairs, random_windows, windows
from stepax.text.beam_search import beam_search, greedy
from stepax.text.byte_pairs import BytePairs, byte_pairs
from stepax.text.classification import TextCNN, TextLSTM, TextTransformer, max_over_time, mean_over_time
from stepax.text.generation import generate, stream
from stepax.text.language_model import LSTMLanguageModel, bits_per_character, perplexity
from stepax.text.sampling import nucleus, sample, temperature, top_k
from stepax.text.splitting import clean_english, split_blanks, split_english, split_words
from stepax.text.tokens import BEGIN, END, PADDING, UNKNOWN, Tokenizer
from stepax.text.translation import LSTMTranslator
from stepax.text.vocabulary import Vocabulary, characters, from_json, words

__all__ = [
    "BEGIN",
    "END",
    "PADDING",
    "UNKNOWN",
    "BytePairs",
    "LSTMLanguageModel",
    "LSTMTranslator",
    "TextCNN",
    "TextLSTM",
    "TextTransformer",
    "Tokenizer",
    "Vocabulary",
    "beam_search",
    "bits_per_character",
    "byte_pairs",
    "characters",
    "clean_english",
    "from_json",
    "generate",
    "greedy",
    "max_over_time",
    "mean_over_time",
    "nucleus",
    "padded",
    "pairs",
    "perplexity",
    "random_windows",
    "sample",
    "split_blanks",
    "split_english",
    "split_words",
    "stream",
    "temperature",
    "top_k",
    "windows",
    "words",
]
