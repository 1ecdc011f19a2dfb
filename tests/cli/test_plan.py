import json
from dataclasses import replace

import pytest

from stepax import files
from stepax.cli.plan import Course, Network, Plan, Subject, known, width
from stepax.record import RunError

PLAN = Plan(
    Subject("iris.csv", {"target": "kind", "size": (3, 4)}, "iris", "classes", (4,), (), ("a", "b", "c"), ("p", "q")),
    Network(
        "mlp",
        {"dense": (8, 4), "dropout": 0.1, "normalize": "no", "activation": "relu"},
        3,
        "cross-entropy",
        True,
        (1.5, 2.5),
    ),
    Course("adam", {}, 0.003, "cosine", 0.0, 10, None, 40, 3, 0.1, False, 7),
)


def test_a_plan_comes_back_from_json_as_it_was():
    assert Plan.of(files.parsed(files.one_line(PLAN.details()))) == PLAN


@pytest.mark.parametrize("details", [{}, {"subject": {}, "network": {}, "course": {}}, {"subject": None}])
def test_details_of_another_kind_are_refused(details):
    with pytest.raises(RunError, match=r"stepax train.*: subject: expected the fields data, reading, name, kind"):
        Plan.of(json.loads(json.dumps(details)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject": "abc"}, "subject: expected the fields data, .*, got 'abc'"),
        ({"subject.kind": "clases"}, r"subject\.kind: expected Literal\['classes', .*, got 'clases'"),
        ({"subject.shape": 4}, r"subject\.shape: expected tuple\[int, \.\.\.\], got 4"),
        ({"subject.shape": [4, "a"]}, r"subject\.shape: expected tuple"),
        ({"subject.reading": ["size"]}, r"subject\.reading: expected .*Mapping"),
        ({"subject.reading": {"rows": 3}}, r"subject\.reading: unknown rows; known are target"),
        ({"subject.classes": ["a", "b"]}, r"network\.outputs: expected 2, got 3"),
        (
            {"subject.kind": "binary", "network.loss": "hinge", "network.outputs": 1},
            r"subject\.classes: expected 2 names",
        ),
        ({"network": {"model": "mlp"}}, "network: expected the fields model, .*, got the fields model$"),
        ({"network.model": "mpl"}, "--model: unknown name 'mpl': .*; did you mean 'mlp'"),
        ({"network.options": {}}, r"network\.options: expected the fields dense, .*, got the fields \(none\)"),
        ({"network.options.dense": "wide"}, r"network\.options\.dense: expected tuple\[int, \.\.\.\], got 'wide'"),
        ({"network.options.activation": 3}, r"network\.options\.activation: expected str, got 3"),
        ({"network.outputs": 4}, r"network\.outputs: expected 3, got 4"),
        ({"network.loss": "entropy"}, "--loss: unknown name 'entropy'"),
        ({"network.loss": None}, "--loss: unknown name"),
        ({"network.loss": "huber"}, "--loss huber is not for several classes"),
        ({"network.target_scaling": [1.0]}, r"network\.target_scaling: expected tuple\[typing\.Any, .*, got \(1\.0,\)"),
        ({"course.optimizer": "adm"}, "--optimizer: unknown name 'adm'.*did you mean 'adam'"),
        ({"course.optimizer": None}, "--optimizer: unknown name"),
        ({"course.options": {"momentum": 0.9}}, r"course\.options: expected the fields \(none\), got .* momentum"),
        ({"course.schedule": "cosin"}, "--schedule: .*did you mean 'cosine'"),
        ({"course.rate": "fast"}, r"course\.rate: expected float, got 'fast'"),
        ({"course.epochs": True}, r"course\.epochs: expected int, got True"),
        ({"course.batch_size": 2.5}, r"course\.batch_size: expected int \| None, got 2.5"),
    ],
)
def test_a_damaged_plan_is_refused_and_the_field_named(change, message):
    details = json.loads(files.one_line(PLAN.details()))
    for path, value in change.items():
        *parts, field = path.split(".")
        place = details
        for part in parts:
            place = place[part]
        place[field] = value
    with pytest.raises(RunError, match=message):
        Plan.of(details)


VOCABULARY = {"split": "characters", "begin": False, "end": False, "tokens": ["a", "b"]}
TEXT = Plan(
    Subject("t.txt", {"encoding": "utf-8"}, "t", "tokens", (8,), (8,), None, None, VOCABULARY),
    Network("transformer", {"width": 8, "layers": 1, "heads": 2, "dropout": 0.0}, 4, "cross-entropy", False),
    Course("adam", {}, 0.003, "cosine", 0.0, 10, 12, 2000, None, 0.1, False, 0),
)


def test_the_plan_of_a_text_comes_back_with_its_vocabulary():
    assert Plan.of(files.parsed(files.one_line(TEXT.details()))) == TEXT
    assert (TEXT.subject.form, known(TEXT.subject), PLAN.subject.form, known(PLAN.subject)) == ("text", 4, "rows", 0)


def test_a_run_from_before_there_were_texts_is_read():
    details = PLAN.details()
    del details["subject"]["tokens"]
    assert Plan.of(details) == PLAN


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject.tokens": None}, r"subject\.tokens: expected a vocabulary, got none"),
        ({"subject.tokens": 3}, r"subject\.tokens: expected .*Mapping.*, got 3"),
        ({"subject.tokens": {}}, r"subject\.tokens: vocabulary: expected a dict with"),
        ({"subject.tokens.tokens": ["a", "a"]}, r"subject\.tokens: tokens: expected each once, got 'a' twice"),
        ({"subject.tokens.tokens": [1]}, r"subject\.tokens: "),
        ({"subject.tokens.split": "letters"}, r"subject\.tokens: vocabulary: unknown split 'letters'"),
        ({"subject.shape": [8, 2]}, r"subject\.shape: expected the number of tokens, got \(8, 2\)"),
        ({"subject.target_shape": []}, r"subject\.shape: expected the number of tokens"),
        ({"network.outputs": 5}, r"network\.outputs: expected 4, got 5"),
        ({"network.model": "cnn"}, "--model: unknown name 'cnn'"),
        ({"network.model": "lstm"}, r"network\.options: expected the fields width, layers, dropout"),
        ({"network.loss": "hinge"}, "--loss hinge is not for tokens of a text"),
    ],
)
def test_a_damaged_plan_of_a_text_is_refused(change, message):
    details = json.loads(files.one_line(TEXT.details()))
    for path, value in change.items():
        *parts, field = path.split(".")
        place = details
        for part in parts:
            place = place[part]
        place[field] = value
    with pytest.raises(RunError, match=message):
        Plan.of(details)


def test_whole_numbers_may_stand_for_floats():
    details = PLAN.details()
    details["course"]["rate"], details["network"]["options"]["dropout"] = 1, 0
    assert Plan.of(details).course.rate == 1


@pytest.mark.parametrize(
    ("target_shape", "loss", "expected"), [((), "cross-entropy", 3), ((), None, 1), ((4,), None, 4)]
)
def test_the_width_of_the_output(target_shape, loss, expected):
    assert width(replace(PLAN.subject, target_shape=target_shape), loss) == expected
