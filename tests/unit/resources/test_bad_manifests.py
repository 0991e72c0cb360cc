"""What only the operator can know is found by it; and so is, in Tasks inside Tasks, what the API server refuses in one."""

from typing import Any

import pytest
from parley.resources.task import TaskSpec
from parley.resources.validation import read_spec, spec_problems

from tests.bad_manifests import REFUSED, STORED, BadManifest
from tests.operator_problems import operator_problems

# Names of Tasks are the operator's own there, and a change of what exists has no place there.
TASKS = [
    bad
    for bad in REFUSED
    if bad.first is None and bad.load()["kind"] == "Task" and bad.field.startswith("spec.")
]


@pytest.mark.parametrize("bad", TASKS, ids=str)
def test_a_bad_task_inside_a_task_is_refused_before_it_is_made(bad: BadManifest) -> None:
    spec: dict[str, Any] = bad.load()["spec"]
    parent = {"steps": [{"name": "child", "task": {"spec": spec}}]}
    read = read_spec(TaskSpec, parent)
    assert isinstance(read, TaskSpec)
    problems = [problem.path for problem in spec_problems(read)]
    assert any(path.startswith("spec.steps[0].task.spec") for path in problems), problems


@pytest.mark.parametrize("bad", STORED, ids=str)
def test_what_only_the_operator_knows_is_found_once_and_by_its_field(bad: BadManifest) -> None:
    problems = operator_problems(bad.load())
    assert [problem.path for problem in problems] == [bad.field], problems
    assert all(word in problems[0].message for word in bad.words), problems[0].message
