import json

import pytest

from stepax import files
from stepax.cli.plan import Course, Network, Plan, Subject
from stepax.record import RunError

PLAN = Plan(
    Subject("iris.csv", {"target": "kind", "size": (3, 4)}, "iris", "classes", (4,), (), ("a", "b", "c"), ("p", "q")),
    Network("mlp", {"dense": (8, 4), "dropout": 0.1}, 3, "cross-entropy", True, (1.5, 2.5)),
    Course("adam", {}, 0.003, "cosine", 0.0, 10, None, 40, 3, 0.1, False, 7),
)


def test_a_plan_comes_back_from_json_as_it_was():
    assert Plan.of(files.parsed(files.one_line(PLAN.details()))) == PLAN


@pytest.mark.parametrize("details", [{}, {"subject": {}, "network": {}, "course": {}}, {"subject": None}])
def test_details_of_another_kind_are_refused(details):
    with pytest.raises(RunError, match="stepax train"):
        Plan.of(json.loads(json.dumps(details)))
