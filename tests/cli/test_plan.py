import json
from dataclasses import replace

import pytest

from stepax import files
from stepax.cli.plan import Course, Network, Plan, Subject, width
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


def test_whole_numbers_may_stand_for_floats():
    details = PLAN.details()
    details["course"]["rate"], details["network"]["options"]["dropout"] = 1, 0
    assert Plan.of(details).course.rate == 1


@pytest.mark.parametrize(
    ("target_shape", "loss", "expected"), [((), "cross-entropy", 3), ((), None, 1), ((4,), None, 4)]
)
def test_the_width_of_the_output(target_shape, loss, expected):
    assert width(replace(PLAN.subject, target_shape=target_shape), loss) == expected
