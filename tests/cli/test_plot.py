def test_figures_are_drawn_again_and_named(call, iris_run, tmp_path):
    done = call("plot", iris_run, "--out", tmp_path / "figures")
    assert done.status == 0
    names = ["learning_curves.png", "confusion_matrix.png", "representation.png"]
    assert done.out.splitlines() == [str(tmp_path / "figures" / name) for name in names]
    assert all((tmp_path / "figures" / name).is_file() for name in names)
    assert not (iris_run / "figures").exists()


def test_of_a_run_that_has_diverged_the_learning_curves_are_drawn(call, diverged_run, tmp_path):
    done = call("plot", diverged_run, "--out", tmp_path / "figures")
    assert (done.status, done.out) == (0, f"{tmp_path / 'figures' / 'learning_curves.png'}\n")
    assert done.err.splitlines() == [
        "warning: for 30 of 30 rows the model has no finite answer: its training may have diverged",
        "warning: figures that need finite outputs are left out: all but the learning curves",
    ]


def test_a_folder_that_is_no_run_is_an_error(call, tmp_path):
    done = call("plot", tmp_path)
    assert done.status == 2
    assert done.err.startswith("error: run ")
