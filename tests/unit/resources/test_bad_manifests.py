"""What the API server refuses in a Task is found in Tasks inside Tasks too, which it does not see."""

from typing import Any

import pytest
from parley.resources.task import TaskSpec
from parley.resources.validation import read_spec, spec_problems

from tests.bad_manifests import REFUSED, BadManifest

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
