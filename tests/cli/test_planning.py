import pathlib
from dataclasses import replace

import numpy as np
import pytest

from stepax.cli import planning
from stepax.cli.options import parse
from stepax.cli.planning import STEPS, held_out, plan, read
from stepax.cli.texts import text_of


def planned(text):
    wanted = parse(["train", *text.split()])
    dataset, subject = read(wanted.data)
    return plan(wanted, subject, dataset.train), dataset


def test_the_default_job():
    made, dataset = planned("")
    assert (made.subject.kind, made.subject.shape, made.network.model) == ("classes", (8, 8, 1), "cnn")
    assert (made.network.outputs, made.network.loss, made.network.standardize) == (10, "cross-entropy", False)
    course = made.course
    assert (course.optimizer, course.rate, course.schedule, course.batch_size) == ("adam", 0.003, "cosine", 64)
    train, validation = held_out(made, dataset.train)
    assert (len(train["y"]), len(validation["y"]), course.steps) == (1293, 144, 30 * 21)


@pytest.mark.parametrize(
    ("text", "model", "loss", "outputs", "standardize"),
    [
        ("--data iris", "mlp", "cross-entropy", 3, True),
        ("--data breast_cancer", "mlp", "binary-cross-entropy", 1, True),
        ("--data breast_cancer --loss cross-entropy", "mlp", "cross-entropy", 2, True),
        ("--data diabetes", "mlp", "mean-squared-error", 1, True),
        ("--data gates", "mlp", "binary-cross-entropy", 4, True),
        ("--data and --model perceptron", "perceptron", None, 1, False),
        ("--data gates --model perceptron", "perceptron", None, 4, False),
        ("--model mlp --standardize yes", "mlp", "cross-entropy", 10, True),
    ],
)
def test_what_is_left_open_follows_the_data(text, model, loss, outputs, standardize):
    network = planned(text)[0].network
    assert (network.model, network.loss, network.outputs, network.standardize) == (model, loss, outputs, standardize)


def test_the_targets_of_a_regression_are_scaled_by_the_rows_that_are_learnt_from():
    made, dataset = planned("--data diabetes --seed 3")
    train, _ = held_out(made, dataset.train)
    np.testing.assert_allclose(made.network.target_scaling, (train["y"].mean(), train["y"].std()), rtol=1e-5)
    assert planned("--data diabetes --standardize no")[0].network.target_scaling is None


def test_held_out_rows_are_stratified_seeded_and_disjoint():
    made, dataset = planned("--validation 0.2 --seed 1")
    train, validation = held_out(made, dataset.train)
    again = held_out(made, dataset.train)[1]
    other = held_out(replace(made, course=replace(made.course, seed=2)), dataset.train)[1]
    np.testing.assert_array_equal(validation["x"], again["x"])
    assert not np.array_equal(validation["x"], other["x"])
    shares = np.bincount(validation["y"]) / np.bincount(dataset.train["y"])
    np.testing.assert_allclose(shares, 0.2, atol=0.01)
    assert len(train["y"]) + len(validation["y"]) == len(dataset.train["y"])


def test_few_rows_are_not_held_out_by_default_and_all_of_them_may_be_one_batch():
    made, dataset = planned("--data xor --batch-size full")
    assert held_out(made, dataset.train) == (dataset.train, None)
    assert (made.course.batch_size, made.course.steps) == (None, made.course.epochs)


def test_a_path_is_kept_so_that_the_run_can_be_read_from_elsewhere(prices, monkeypatch):
    monkeypatch.chdir(prices.parent)
    _, subject = read(parse(["train", "--data", "prices.csv", "--target", "price"]).data)
    assert pathlib.Path(subject.data) == prices.resolve()
    assert (subject.reading, subject.columns) == ({"target": "price"}, ("size", "age"))


def test_the_end_of_a_text_is_held_out_and_the_rest_makes_the_vocabulary(tmp_path):
    text = "ab" * 400 + "xyz" * 30 + "!" * 110
    (tmp_path / "t.txt").write_text(text)
    made, dataset = planned(f"--data {tmp_path / 't.txt'} --model lstm")
    train, validation = held_out(made, dataset.train)
    assert [text_of(part["x"]) for part in (train, validation, dataset.test)] == [text[:810], text[810:900], text[900:]]
    assert made.subject.tokens["tokens"] == ["a", "b", "x", "y", "z"]
    assert (made.subject.shape, made.subject.target_shape, made.subject.kind) == ((64,), (64,), "tokens")
    assert (made.network.model, made.network.outputs, made.network.loss) == ("lstm", 7, "cross-entropy")
    assert (made.course.epochs, made.course.batch_size, made.course.steps) == (10, 12, 10 * STEPS)
    assert made.course.rate == 0.003
    assert planned(f"--data {tmp_path / 't.txt'}")[0].course.rate == 0.001
    assert planned(f"--data {tmp_path / 't.txt'} --learning-rate 0.01")[0].course.rate == 0.01


def test_the_vocabulary_of_texts_is_that_of_the_rows_to_learn_from(tmp_path):
    lines = [f"word{i:03} film,{'ab'[i % 2]}" for i in range(200)]
    (tmp_path / "t.csv").write_text("\n".join(["text,y", *lines]))
    made, dataset = planned(f"--data {tmp_path / 't.csv'} --text text --target y")
    train, _ = held_out(made, dataset.train)
    assert {*made.subject.tokens["tokens"]} == {word for text in train["x"] for word in text.split()}
    assert (len(train["x"]), made.subject.shape, made.subject.classes) == (144, (2,), ("a", "b"))
    assert (made.network.model, made.network.standardize) == ("textcnn", False)
    few, _ = planned(f"--data {tmp_path / 't.csv'} --text text --target y --vocabulary 9 --context 1")
    assert (few.subject.tokens["tokens"][0], len(few.subject.tokens["tokens"]), few.subject.shape) == ("film", 9, (1,))


TEXT = "--data play.txt"
TABLE = "--data reviews.csv --text review --target mood"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{TEXT} --model cnn",
            "--model cnn is not for play, which is a text to go on with; there are transformer, lstm",
        ),
        (f"{TEXT} --model textcnn", "--model textcnn is not for play, which is a text to go on with"),
        (
            f"{TABLE} --model mlp",
            "is not for reviews, which is texts with classes; there are textcnn, lstm, transformer",
        ),
        ("--model lstm", "--model lstm is not for digits, which is no text; there are cnn, mlp, linear, perceptron"),
        (
            f"{TEXT} --model lstm --heads 2",
            "--heads does not apply to --model lstm, which has --width, --layers, --dropout",
        ),
        (f"{TABLE} --layers 2", "--layers does not apply to --model textcnn"),
        (f"{TEXT} --dense 3", "--dense does not apply to --model transformer"),
        (f"{TEXT} --target y", "--target does not apply to play.txt, which is a text to go on with"),
        (f"{TEXT} --text y", "--text does not apply to play.txt"),
        (f"{TEXT} --size 3 4", "--size does not apply to play.txt"),
        (f"{TEXT} --standardize yes", "--standardize yes does not apply to texts"),
        (f"{TEXT} --batch-size full", "--batch-size full does not apply to a text"),
        (f"{TEXT} --loss hinge", "--loss hinge is not for tokens of a text; there are cross-entropy"),
        (f"{TEXT} --context 4000", "--context: the part of the text to learn from has .* not more than the 4,000 of"),
        (f"{TEXT} --context 0", "--context: expected at least 1, got 0"),
        (f"{TEXT} --validation 0.0001", "--validation 0.0001 cannot be held out of"),
        (f"{TEXT} --tokens byte-pairs --vocabulary 20", "--vocabulary: expected at least 258|pip install"),
        ("--tokens words", "--tokens does not apply to digits: it is for texts, a .txt file or --text COLUMN"),
        ("--data reviews.csv --target mood --drop review --context 3", "--context does not apply to reviews.csv"),
        ("--data digits --encoding latin-1", "--encoding does not apply to digits"),
        ("--data digits --text x", "--text does not apply to the built-in data set digits; did you forget --data FILE"),
        (f"{TABLE} --columns id", "--columns does not apply to reviews.csv, which is texts with classes"),
        (
            "--data reviews.csv --text review",
            "needs the name of its target column, the class of each text: pass --target",
        ),
        ("--data reviews.csv --text revue --target mood", "--text: reviews.csv has no column 'revue'.*'review'"),
        ("--data reviews.csv --text review --target mod", "--target: reviews.csv has no column 'mod'.*'mood'"),
        ("--data reviews.csv --text review --target review", "--target: 'review' is the column of the texts"),
        ("--data one.csv --text review --target mood", "one: expected at least two classes to tell apart, got 1"),
        ("--data empty.txt", "empty.txt is empty: expected a text"),
        ("--data blank.txt", "blank.txt is blank: expected a text"),
        ("--data latin.txt", r"latin.txt, byte 1 \(line 1\) is fc: not utf-8 .*pass --encoding \('cp1252', 'latin-1'"),
        ("--data latin.txt --encoding nonsense", "--encoding: latin.txt cannot be read as 'nonsense'"),
        (
            "--data latin.csv --text review --target mood",
            r"latin.csv, byte 13 \(line 2\) is fc: not utf-8 .*--encoding",
        ),
        (
            "--data short.txt",
            "--context: the part of the text to learn from has 18 tokens, not more than the 64 of the",
        ),
        ("--data none.txt", "there is no file or folder 'none.txt'"),
        ("--data trek", "unknown data set 'trek': .*did you mean 'trec'"),
    ],
)
def test_what_does_not_fit_a_text_is_refused_with_a_reason(play, reviews, tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "play.txt").write_text(play.read_text())
    (tmp_path / "reviews.csv").write_text(reviews.read_text())
    (tmp_path / "one.csv").write_text("review,mood\na,good\nb,good\n")
    (tmp_path / "latin.txt").write_bytes("für Elise".encode("latin-1"))
    (tmp_path / "latin.csv").write_bytes("review,mood\nfür,good\n".encode("latin-1"))
    for name, content in {"empty": "", "blank": " \n", "short": "twenty characters it"}.items():
        (tmp_path / f"{name}.txt").write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        planned(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--data minst", "did you mean 'mnist'"),
        ("--model cn", "did you mean 'cnn'"),
        ("--optimizer adm", "did you mean 'adam'"),
        ("--data iris --model cnn", "--model cnn is for images"),
        ("--model mlp --features 3", "--features does not apply to --model mlp, which has --dense"),
        ("--optimizer adam --momentum 0.9", "--momentum does not apply to --optimizer adam"),
        ("--data iris --model perceptron", "two classes apart, and iris has 3 classes"),
        ("--data diabetes --model perceptron", "two classes apart, and diabetes has numbers"),
        ("--data and --model perceptron --optimizer sgd", "--optimizer does not apply to --model perceptron"),
        ("--data and --model perceptron --loss hinge", "--loss does not apply to --model perceptron"),
        ("--data and --model perceptron --standardize yes", "--standardize yes does not apply"),
        ("--data and --model perceptron --class-weights", "--class-weights does not apply to --model perceptron"),
        ("--data and --model perceptron --learning-rate 0", "--learning-rate"),
        ("--data diabetes --loss cross-entropy", "is not for numbers; there are mean-squared-error"),
        ("--epochs 0", "--epochs: expected at least 1"),
        ("--batch-size -2", "--batch-size: expected at least 1"),
        ("--validation 1", "--validation"),
        ("--validation 0.001", "--validation 0.001 cannot be held out of 1437 rows"),
        ("--validation 0 --patience 3", "patience"),
        ("--patience 0", "patience"),
        ("--learning-rate -1", "--learning-rate"),
        ("--schedule cosin", "did you mean 'cosine'"),
        ("--target y", "--target does not apply to the built-in data set digits; did you forget --data FILE.csv"),
        ("--size 3 4", "--size does not apply to the built-in data set digits; did you forget --data FOLDER"),
    ],
)
def test_what_does_not_fit_is_refused_with_a_reason(text, message):
    with pytest.raises(ValueError, match=message):
        planned(text)


@pytest.fixture
def processes(monkeypatch):
    """Plans are made as in one of several processes with a device each."""

    def several(count):
        monkeypatch.setattr(planning.jax, "process_count", lambda: count)
        monkeypatch.setattr(planning.jax, "device_count", lambda: count)

    return several


@pytest.mark.parametrize(
    ("text", "count", "size"),
    [
        ("--data {play}", 8, 16),
        ("--data {reviews} --text review --target mood", 4, 52),
        ("--data {reviews} --text review --target mood", 2, 50),
        ("--data iris", 3, 33),
        ("--data xor", 3, 3),
        ("--data iris --batch-size 30", 3, 30),
    ],
)
def test_several_processes_share_a_batch_equally(processes, play, reviews, text, count, size):
    processes(count)
    course = planned(text.format(play=play, reviews=reviews))[0].course
    assert course.batch_size == size
    if "iris" in text:
        assert course.steps == -(-108 // size) * course.epochs


@pytest.mark.parametrize(
    ("text", "count", "message"),
    [
        ("--data iris --batch-size 10", 4, "--batch-size: 4 devices of 4 processes cannot share 10 .* such as 12$"),
        ("--data iris --batch-size full --validation 0.2", 5, "cannot share 96 examples equally: .* of 5, such as 95$"),
        ("--data xor", 5, "--processes: 5 devices cannot share 4 training rows: expected fewer processes$"),
    ],
)
def test_a_batch_that_processes_cannot_share_is_refused(processes, text, count, message):
    processes(count)
    with pytest.raises(ValueError, match=message):
        planned(text)
