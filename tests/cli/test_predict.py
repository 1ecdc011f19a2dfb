import csv
import io

import numpy as np
import pytest
from PIL import Image

import stepax as sx
from stepax.cli.runs import dataset_of, open_run


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def test_a_table_goes_in_and_a_table_comes_out(call, iris_run, tmp_path):
    dataset = dataset_of(open_run(iris_run))
    order = [2, 0, 3, 1]
    lines = [["id", *(dataset.features[i] for i in order)]]
    lines += [[f"flower {n}", *map(str, row[order])] for n, row in enumerate(dataset.test["x"])]
    with (tmp_path / "in.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    done = call("predict", iris_run, "in.csv", "--out", "out.csv")
    assert done.status == 0
    assert "left out, not among the columns of the training: id" in done.err
    answers = rows_of(tmp_path / "out.csv")
    run = open_run(iris_run)
    expected = sx.predict(run.built.learner, run.state, dataset.test["x"]).argmax(axis=1)
    assert [row["prediction"] for row in answers] == [dataset.classes[i] for i in expected]
    assert [row["input"] for row in answers] == [str(n + 1) for n in range(30)]
    for row in answers:
        shares = {name: float(row[f"p({name})"]) for name in dataset.classes}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert max(shares, key=shares.get) == row["prediction"]


def test_the_target_column_may_be_there_and_numbers_come_in_raw_units(call, prices, prices_run, tmp_path):
    assert call("predict", prices_run, prices, "--out", "out.csv").err == "200 answers in out.csv\n"
    given, answers = rows_of(prices), rows_of(tmp_path / "out.csv")
    errors = [abs(float(a["price"]) - float(g["price"])) for a, g in zip(answers, given, strict=True)]
    assert max(errors) < 30  # of prices from 800 to 2,500


def test_the_table_is_short_and_says_what_is_left(call, digits_run, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((30, 8, 8), np.float32))
    done = call("predict", digits_run, "x.npy", "--rows", 3)
    lines = done.out.strip().splitlines()
    assert lines[0].split() == ["input", "prediction", "probability"]
    assert len(lines) == 5
    assert lines[-1] == "3 of 30 answers; --out FILE.csv writes them all"
    done = call("predict", digits_run, "x.npy", "--rows", 3, "--out", "x.csv")
    assert done.out.strip().splitlines()[-1] == "3 of 30 answers"


def test_archives_arrays_and_images_get_the_same_answers(call, digits_run, tmp_path):
    _, test = sx.data.load("digits")
    pixels = np.round(test["x"][:4, ..., 0] * 255).astype(np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    np.savez(tmp_path / "x.npz", x=pixels)
    np.save(tmp_path / "one.npy", pixels[3])
    for i, image in enumerate(pixels):
        path = tmp_path / "images" / f"{'ab'[i % 2]}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    answers = {}
    for name in ("x.npy", "x.npz", "one.npy", "images"):
        assert call("predict", digits_run, name, "--out", f"{name}.csv", "--rows", 0).out == ""
        answers[name] = {row.pop("input"): row for row in rows_of(tmp_path / f"{name}.csv")}
    assert answers["x.npy"] == answers["x.npz"]
    assert list(answers["images"]) == ["a/0.png", "a/2.png", "b/1.png", "b/3.png"]
    assert answers["images"]["b/3.png"] == answers["x.npy"]["4"] == answers["one.npy"]["1"]


def test_one_image_of_another_size_needs_resize(call, digits_run, tmp_path):
    Image.fromarray(np.full((16, 24, 3), 90, np.uint8)).save(tmp_path / "big.png")
    done = call("predict", digits_run, "big.png")
    assert done.status == 2
    assert "16×24×3" in done.err
    assert "8×8×1" in done.err
    assert "--resize" in done.err
    assert call("predict", digits_run, "big.png", "--resize").status == 0


def test_labels_that_are_each_true_or_not_have_a_column_each(call, tmp_path):
    small = ("--data", "gates", "--model", "perceptron", "--epochs", 60, "--no-figures", "--log", "--out", "run")
    assert call("train", *small).status == 0
    (tmp_path / "in.csv").write_text("a,b\n1,1\n0,0\n")
    call("predict", "run", "in.csv", "--out", "out.csv")
    first, second = rows_of(tmp_path / "out.csv")
    assert (first["and"], first["or"], first["nand"]) == ("yes", "yes", "no")
    assert (second["and"], second["or"], second["nand"]) == ("no", "no", "yes")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("in.csv", "size\n1\n", "lacks 1 of the columns that the model takes: age"),
        ("in.csv", "size,age\n1,old\n", "line 2: column 'age' holds 'old'"),
        ("in.txt", "1", "no kind of file"),
        ("none.csv", None, "no file or folder 'none.csv'"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(call, prices_run, tmp_path, file, content, message):
    if content is not None:
        (tmp_path / file).write_text(content)
    done = call("predict", prices_run, file)
    assert (done.status, done.out) == (2, "")
    assert message in done.err


@pytest.mark.parametrize("options", [("--out", "answers.txt"), ("--rows", -1), ("--resize",)])
def test_options_that_do_not_fit_are_refused(call, prices, prices_run, options):
    done = call("predict", prices_run, prices, *options)
    assert done.status == 2
    assert options[0].strip("-") in done.err


def test_answers_of_a_run_that_has_diverged_come_with_a_warning(call, diverged_run, tmp_path):
    rows = sx.data.load("iris").test["x"][:3]
    np.save(tmp_path / "x.npy", rows)
    done = call("predict", diverged_run, "x.npy")
    assert (done.status, done.out.splitlines()[1].split()[2:]) == (0, ["nan"] * 3)
    assert done.err == "warning: for 3 of 3 rows the model has no finite answer: its training may have diverged\n"


def test_texts_come_from_a_table_or_from_the_lines_of_a_file(call, reviews_run, tmp_path):
    texts = ["a great joy", "dull, hated it, and so many words more that it is cut", "loved"]
    (tmp_path / "in.txt").write_text("\n".join([texts[0], "", *texts[1:]]) + "\n")
    (tmp_path / "in.csv").write_text("\n".join(["id,review", *(f'{i},"{text}"' for i, text in enumerate(texts))]))
    answers = []
    for name in ("in.txt", "in.csv"):
        done = call("predict", reviews_run, name, "--out", "out.csv", "--rows", 2)
        assert done.err == (
            "warning: 1 of 3 texts are longer than the 6 tokens that the model sees, and cut\n"
            "warning: 61.1% of 18 tokens are unknown to the model\n3 answers in out.csv\n"
        )
        answers.append(rows_of(tmp_path / "out.csv"))
    assert answers[0] == answers[1]
    assert [row["input"] for row in answers[0]] == texts
    assert [row["prediction"] for row in answers[0]] == ["good", "bad", "good"]
    assert "a great joy  " in done.out
    assert "2 of 3 answers" in done.out


def test_texts_may_be_written_in_another_encoding(call, iris_run, reviews_run, tmp_path):
    (tmp_path / "in.txt").write_bytes("a great joy, für mich\n".encode("latin-1"))
    assert "pass --encoding ('cp1252'" in call("predict", reviews_run, "in.txt").err
    done = call("predict", reviews_run, "in.txt", "--encoding", "latin-1", "--out", "out.csv")
    assert done.status == 0
    assert [row["input"] for row in rows_of(tmp_path / "out.csv")] == ["a great joy, für mich"]
    assert "--encoding is for texts, and" in call("predict", iris_run, "in.txt", "--encoding", "latin-1").err


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("in.csv", "text\nx\n", "in.csv has no column 'text'|in.csv has no column 'review'"),
        ("in.npy", "x", "in.npy is no kind of file with texts: expected .csv, or .txt with a text on each line"),
        ("in.txt", "", "in.txt is empty: expected a text"),
        ("none.txt", None, "none.txt"),
    ],
)
def test_texts_that_cannot_be_read_are_refused(call, reviews_run, tmp_path, file, content, message):
    if content is not None:
        (tmp_path / file).write_text(content)
    done = call("predict", reviews_run, file)
    assert (done.status, done.out) == (2, "")
    assert any(part in done.err for part in message.split("|"))
    assert "--resize is for images" in call("predict", reviews_run, file, "--resize").err


def test_a_language_model_has_no_answers_but_goes_on(call, play, play_run):
    done = call("predict", play_run, play)
    assert (done.status, done.out) == (2, "")
    assert f"generate {play_run} --prompt TEXT`" in done.err
