import jax
import jax.numpy as jnp
import pytest

import stepax as sx
from stepax.transforms.owned import held, released


def state(**extra):
    return sx.new_state(jax.random.key(0), {}, {}, (), extra)


def test_what_is_held_is_released_and_the_rest_stays():
    with_own = held(state(replay=jnp.ones(2)), "average", {"sums": 1})
    inner, own = released(with_own, "average")
    assert own == {"sums": 1}
    assert list(inner.extra) == ["replay"]


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match=r"average: the learner keeps something .* transformed twice\?"):
        held(state(average=0), "average", 1)


def test_a_state_of_another_learner_is_refused():
    with pytest.raises(ValueError, match=r"guard: the state has only \['average'\] in State.extra"):
        released(state(average=0), "guard")
