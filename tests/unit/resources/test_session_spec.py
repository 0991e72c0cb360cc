"""With whom a session is, how long it is kept, and with whom the Tasks of one are."""

from datetime import timedelta
from typing import Any

import pytest
from parley.resources.children import bound_to, inline_children
from parley.resources.session import SessionSpec, SessionUser
from parley.resources.task import TaskSpec
from parley.resources.task_template import TaskTemplateSpec, resolve_template
from parley.resources.validation import read_spec, spec_problems


def session(**spec: Any) -> SessionSpec:
    spec = spec if "agents" in spec else {"agentRef": {"name": "support"}, **spec}
    return SessionSpec.model_validate(spec)


def test_the_agents_and_people_of_a_session_are_one_or_several() -> None:
    alone = session(user={"name": "Alice"})
    assert (alone.agent_names, alone.people) == (["support"], [SessionUser(name="Alice")])
    several = session(
        agents=[{"name": "b"}, {"name": "a"}], users=[{"id": "bob", "about": "x"}, {"id": "al"}]
    )
    assert several.agent_names == ["b", "a"]
    assert several.people == [SessionUser(id="bob", about="x"), SessionUser(id="al")]
    assert session().people == []


def test_a_session_of_which_little_is_said_lives_on_and_is_erased_a_month_after_it_is_gone() -> None:
    spec = session(limits={})
    assert spec.desired_state == "Active"
    assert spec.retention.after_gone == timedelta(days=30)
    assert spec.retention.max_age_or_none() is None
    assert spec.limits is not None
    assert (spec.limits.idle_timeout_or_none(), spec.limits.expire_after_or_none()) == (None, None)
    assert (spec.limits.context_overflow, spec.auto_run_tools, spec.limits.token_budget) == (
        "Truncate",
        None,
        None,
    )


def test_a_transcript_that_is_retained_is_never_erased_however_long_after_is() -> None:
    spec = session(retention={"transcript": "Retain", "after": "1h", "maxAge": "2160h"})
    assert spec.retention.after_gone is None
    assert spec.retention.max_age_or_none() == timedelta(days=90)


@pytest.mark.parametrize("field", ["after", "maxAge"])
def test_nothing_is_erased_within_the_hour(field: str) -> None:
    read = read_spec(SessionSpec, {"agentRef": {"name": "a"}, "retention": {field: "59m59s"}})
    assert isinstance(read, list)
    assert [str(problem) for problem in read] == [f"spec.retention.{field}: must be at least 1h"]


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({}, "spec"),
        ({"agentRef": {"name": "a"}, "agents": [{"name": "a"}]}, "spec"),
        ({"agents": [{"name": "a"}, {"name": "a"}]}, "spec.agents[1].name"),
        ({"agentRef": {"name": "a"}, "user": {}, "users": [{"id": "x"}]}, "spec.users"),
        ({"agentRef": {"name": "a"}, "users": [{"id": "x"}, {"id": "y"}, {"id": "x"}]}, "spec.users[2].id"),
    ],
)
def test_rules_that_an_older_api_server_did_not_know_are_checked_again(
    spec: dict[str, Any], path: str
) -> None:
    assert [problem.path for problem in spec_problems(SessionSpec.model_validate(spec))] == [path]


SESSION, AGENT = {"sessionRef": {"name": "s"}}, {"agentRef": {"name": "a"}}


def test_a_task_may_name_which_agent_of_its_session_speaks_and_who_says_it() -> None:
    spec = TaskSpec.model_validate({**SESSION, **AGENT, "user": "alice", "message": "hi"})
    assert spec_problems(spec) == []
    assert bound_to(spec) == {**SESSION, **AGENT, "user": "alice"}


@pytest.mark.parametrize(
    "spec", [{"message": "m", **AGENT}, {"steps": [{"name": "a", "container": {"image": "i"}}]}]
)
def test_a_user_without_a_session_is_refused(spec: dict[str, Any]) -> None:
    problems = spec_problems(TaskSpec.model_validate({**spec, "user": "alice"}))
    assert [problem.path for problem in problems] == ["spec.user"]


def resolved(task: dict[str, Any], **template: Any) -> dict[str, Any]:
    own = TaskSpec.model_validate({"templateRef": {"name": "t"}, **task})
    assert spec_problems(own) == []
    spec = resolve_template(own, TaskTemplateSpec.model_validate({"task": {"message": "m", **template}}))
    return bound_to(spec)


@pytest.mark.parametrize(
    ("task", "template", "bound"),
    [
        ({}, {**SESSION, **AGENT, "user": "bob"}, {**SESSION, **AGENT, "user": "bob"}),
        ({"user": "alice"}, {**SESSION, "user": "bob"}, {**SESSION, "user": "alice"}),
        (
            {"sessionRef": {"name": "own"}},
            {**SESSION, **AGENT, "user": "bob"},
            {"sessionRef": {"name": "own"}},
        ),
        ({"agentRef": {"name": "own"}}, {**SESSION, **AGENT, "user": "bob"}, {"agentRef": {"name": "own"}}),
    ],
)
def test_a_task_that_says_with_whom_it_is_has_nobody_of_its_templates(
    task: dict[str, Any], template: dict[str, Any], bound: dict[str, Any]
) -> None:
    assert resolved(task, **template) == bound


@pytest.mark.parametrize(
    ("own", "bound"),
    [
        ({}, {**SESSION, **AGENT, "user": "alice"}),
        ({"user": "bob"}, {**SESSION, **AGENT, "user": "bob"}),
        ({"agentRef": {"name": "other"}}, {"agentRef": {"name": "other"}}),
        ({"sessionRef": {"name": "other"}}, {"sessionRef": {"name": "other"}}),
    ],
)
def test_a_task_inside_a_task_is_with_whom_its_parent_is_unless_it_names_one(
    own: dict[str, Any], bound: dict[str, Any]
) -> None:
    step = {"name": "child", "task": {"spec": {"message": "m", **own}}}
    parent = TaskSpec.model_validate({**SESSION, **AGENT, "user": "alice", "steps": [step]})
    ((_, child),) = inline_children(parent, "spec")
    assert isinstance(child, TaskSpec)
    assert bound_to(child) == bound


def test_a_tool_step_of_nobody_is_refused_by_its_path() -> None:
    spec = {"steps": [{"name": "call", "tool": {"name": "get_order"}}]}
    assert [problem.path for problem in spec_problems(TaskSpec.model_validate(spec))] == [
        "spec.steps[0].tool"
    ]
    assert spec_problems(TaskSpec.model_validate({**spec, **SESSION})) == []
