import signal

import pytest

import stepax as sx
from stepax.cli.console import program
from stepax.cli.interruption import interruptible


def stopped(folder, left, error):
    folder.mkdir()
    for name in left:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("" if name == "epochs.jsonl" else "x")
    with pytest.raises(KeyboardInterrupt) as found, interruptible(folder):
        raise error
    return found.value.args[0]


@pytest.mark.parametrize(
    ("left", "what"),
    [
        ((), "nothing is saved"),
        (("epochs.jsonl", "plan.json"), "nothing is saved"),
        (("notes.txt",), "the model is not saved; {folder} keeps notes.txt"),
        (("run.json",), "the run is saved in {folder}; `{program} plot {folder}` draws figures that are missing"),
        (
            ("checkpoints/step-000000000003/a", "plan.json"),
            "before the end; `{program} train --resume {folder}` goes on from there",
        ),
    ],
)
def test_it_says_what_is_kept(tmp_path, left, what):
    folder = tmp_path / "run"
    said = stopped(folder, left, KeyboardInterrupt())
    assert said == what.replace("{folder}", str(folder)).replace("{program}", program())
    assert folder.exists() == (said != "nothing is saved")


def test_other_errors_pass(tmp_path):
    with pytest.raises(ValueError, match="mine"), interruptible(tmp_path):
        raise ValueError("mine")


def test_of_a_saved_training_the_step_is_told(tmp_path):
    stop = sx.Interrupted(signal.SIGINT, 1200, tmp_path, 1000)
    said = stopped(tmp_path / "run", ("checkpoints/step-000000001000/a",), stop)
    assert said.startswith("after step 1,200, which could not be saved; step 1,000 is; ")
