import jax
import pytest

from stepax.cli import needs
from stepax.cli.needs import compiling, note_compiled, worth_watching
from stepax.cli.runs import open_run
from stepax.estimation import Estimate

NEEDED = Estimate(4000, 8000, 0, 100, 5000, 17_100, 10**9, 0, 32)


@pytest.mark.parametrize(("flops", "worth"), [(2_999_999, False), (3_000_000, True)])
def test_watching_is_for_models_that_compute_more_than_they_hold(flops, worth):
    assert worth_watching(NEEDED._replace(flops=flops)) is worth
    assert not worth_watching(NEEDED._replace(parameters=0, flops=0))


@pytest.fixture
def plan(iris_run, tmp_path, monkeypatch):
    monkeypatch.setattr(needs, "_path", lambda: tmp_path / "cache" / "seconds.json")
    return open_run(iris_run).plan


def test_the_first_time_is_kept_for_runs_of_the_same_programs(plan):
    assert compiling(plan, False) == "for the first time here, which takes seconds"
    note_compiled(plan, False, 4.25)
    note_compiled(plan, False, 0.5)  # loaded from the cache
    told = "took 4.2 s the first time, and less where the cache still has it"
    assert compiling(plan, False) == told
    course = plan.course
    other_seed = type(plan)(plan.subject, plan.network, type(course)(**{**vars(course), "seed": 7}))
    other_rate = type(plan)(plan.subject, plan.network, type(course)(**{**vars(course), "rate": 7.0}))
    assert compiling(other_seed, False) == told
    assert compiling(plan, True) == compiling(other_rate, False) == "for the first time here, which takes seconds"


@pytest.mark.parametrize("text", ["{", "[1]", '{"x": '])
def test_a_damaged_file_is_begun_anew(plan, text):
    needs._path().parent.mkdir(parents=True)
    needs._path().write_text(text)
    assert compiling(plan, False).startswith("for the first time")
    note_compiled(plan, False, 1.0)
    assert compiling(plan, False).startswith("took 1.0 s")


@pytest.mark.parametrize(("own", "used"), [("/x", "/x"), ("gs://x", "compiled"), (None, "compiled")])
def test_it_lies_beside_the_programs(own, used):
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", own)
    try:
        assert str(needs._path().parent).endswith(used)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_only_the_latest_are_kept(plan, monkeypatch):
    monkeypatch.setattr(needs, "KEPT", 1)
    note_compiled(plan, False, 1.0)
    note_compiled(plan, True, 2.0)
    assert compiling(plan, True).startswith("took 2.0 s")
    assert compiling(plan, False).startswith("for the first time")
