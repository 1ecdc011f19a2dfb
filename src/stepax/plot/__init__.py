"""Figures of data, training and networks: functions from arrays to a Matplotlib ``Figure``, without global state."""

from stepax.plot.activations import layer_activations
from stepax.plot.attention import attention_map
from stepax.plot.bench import training_speed
from stepax.plot.confusion import confusion
from stepax.plot.curves import learning_curves
from stepax.plot.episode import episode_frames, episode_strip, save_animation
from stepax.plot.filters import filters
from stepax.plot.maps import feature_maps
from stepax.plot.prediction import predicted_against_true
from stepax.plot.probes import probe_accuracy
from stepax.plot.rate_range import rate_range
from stepax.plot.representation import representation
from stepax.plot.returns import return_curves
from stepax.plot.search import search
from stepax.plot.style import save

__all__ = [
    "attention_map",
    "confusion",
    "episode_frames",
    "episode_strip",
    "feature_maps",
    "filters",
    "layer_activations",
    "learning_curves",
    "predicted_against_true",
    "probe_accuracy",
    "rate_range",
    "representation",
    "return_curves",
    "save",
    "save_animation",
    "search",
    "training_speed",
]
