import pytest

from stepax.cli.choices import chosen, settings


def test_a_name_is_looked_up():
    assert chosen("model", {"cnn": 1}, "cnn") == 1


def test_an_unknown_name_lists_the_known_and_suggests_the_nearest():
    with pytest.raises(ValueError, match=r"--model: unknown name 'mpl': known are 'cnn', 'mlp'; did you mean 'mlp'\?"):
        chosen("model", {"cnn": 1, "mlp": 2}, "mpl")


def test_given_options_overrule_defaults_and_none_does_not():
    assert settings("--model cnn", {"a": 1, "b": 2}, {"a": 3, "b": None, "c": None}) == {"a": 3, "b": 2}


@pytest.mark.parametrize(
    ("defaults", "tail"), [({"dense": 1, "weight_decay": 2}, "--dense, --weight-decay"), ({}, "no options of its own")]
)
def test_an_option_that_would_do_nothing_is_refused(defaults, tail):
    with pytest.raises(ValueError, match=f"--top-k does not apply to --model mlp, which has {tail}"):
        settings("--model mlp", defaults, {"top_k": 5})
