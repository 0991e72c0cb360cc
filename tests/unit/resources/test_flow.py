"""What steps need, how long retries wait, where prompts run, and what a Task makes of its template."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.resources.agent import AgentSpec
from parley.resources.common import read_instant
from parley.resources.problems import Problem
from parley.resources.retry import Backoff, Retry, RetryCause
from parley.resources.steps import STEP_KINDS, Step, all_needs_of, needs_of
from parley.resources.task import TaskSpec, runtime_mode
from parley.resources.task_template import TaskTemplateSpec, resolve_template
from parley.resources.validation import read_spec, spec_problems

RUN: dict[str, Any] = {"container": {"image": "i"}}
KINDS: dict[str, Any] = {
    "prompt": {"text": "?"},
    "tool": {"name": "get_order", "arguments": {"number": "{{ inputs.order }}"}},
    "container": {"image": "i"},
    "wait": {"question": "?"},
    "sleep": {"duration": "1h"},
    "set": {"context": {"a": None}},
    "task": {"templateRef": {"name": "t"}},
    "return": {},
    "fail": {"message": "no"},
}


def steps(*needs: list[str] | None) -> list[Step]:
    """Steps a, b, c … with these needs."""
    names = "abcdefgh"
    return [
        Step.model_validate({"name": names[index], **RUN, **({} if need is None else {"needs": need})})
        for index, need in enumerate(needs)
    ]


@pytest.mark.parametrize("kind", STEP_KINDS)
def test_a_step_is_of_the_kind_it_has_a_field_for(kind: str) -> None:
    step = Step.model_validate({"name": "a", kind: KINDS[kind]})
    assert (step.kind, step.kinds) == (kind, [kind])
    assert step.has_attempts == (kind in {"prompt", "tool", "container", "task"})
    assert step.runs_in_runner == (kind in {"prompt", "tool"})
    assert Step.model_validate(step.to_json()) == step


def test_by_default_a_step_needs_the_one_above_it() -> None:
    chain = steps(None, None, None)
    assert [needs_of(chain, index) for index in range(3)] == [(), ("a",), ("b",)]
    assert all_needs_of(chain, 2) == {"a", "b"}


def test_an_empty_list_of_needs_is_none_at_all() -> None:
    both = steps(None, [])
    assert needs_of(both, 1) == ()
    assert all_needs_of(both, 1) == frozenset()


def test_needs_are_followed_through_branches() -> None:
    # Given two branches from a, of which d joins one, and e whatever is above it
    graph = steps(None, ["a"], ["a"], ["c"], None)
    assert all_needs_of(graph, 3) == {"a", "c"}
    assert all_needs_of(graph, 4) == {"a", "c", "d"}


@given(st.lists(st.one_of(st.none(), st.integers(0, 255)), max_size=8))
def test_what_is_needed_is_above_and_needs_its_own_needs(masks: list[int | None]) -> None:
    names = "abcdefgh"
    graph = steps(
        *(
            None if mask is None else [names[i] for i in range(index) if mask >> i & 1]
            for index, mask in enumerate(masks)
        )
    )
    for index in range(len(graph)):
        needed = all_needs_of(graph, index)
        assert needed <= set(names[:index])
        assert set(needs_of(graph, index)) <= needed
        for name in needed:
            assert all_needs_of(graph, names.index(name)) <= needed


def test_retries_wait_longer_each_time_up_to_the_longest_wait() -> None:
    backoff = Backoff(initial="10s", factor=2, max="1m")
    assert [backoff.delay(retry) for retry in (1, 2, 3, 4, 20)] == [
        timedelta(seconds=seconds) for seconds in (10, 20, 40, 60, 60)
    ]
    assert Backoff(initial="5m", max="1m").delay(1) == timedelta(minutes=1)
    assert Backoff(factor=1).delay(20) == timedelta(seconds=10)


def test_without_retry_nothing_is_repeated_and_by_default_for_two_causes() -> None:
    assert (Retry().limit, Retry().causes) == (0, [RetryCause.ERROR, RetryCause.TIMEOUT])


@pytest.mark.parametrize(
    ("task", "agent", "mode"),
    [
        ({}, None, "Job"),
        ({}, {}, "Job"),
        ({}, {"runtime": {}}, "Job"),
        ({}, {"runtime": {"mode": "Task"}}, "Task"),
        ({"runtime": {}}, {"runtime": {"mode": "Task"}}, "Task"),
        ({"runtime": {"mode": "Job"}}, {"runtime": {"mode": "Task"}}, "Job"),
        ({"runtime": {"mode": "Task"}}, {}, "Task"),
    ],
)
def test_the_task_says_where_prompts_run_else_its_agent(
    task: dict[str, Any], agent: dict[str, Any] | None, mode: str
) -> None:
    model = {"provider": "OpenAI", "name": "m"}
    spec = None if agent is None else AgentSpec.model_validate({"model": model, **agent})
    assert runtime_mode(TaskSpec.model_validate({"message": "m", **task}), spec) == mode


def resolved(task: dict[str, Any], **template: Any) -> TaskSpec:
    own = TaskSpec.model_validate({"templateRef": {"name": "t"}, **task})
    return resolve_template(own, TaskTemplateSpec.model_validate({"task": {"message": "m", **template}}))


def test_a_task_runs_what_its_template_says() -> None:
    spec = resolved({}, agentRef={"name": "a"}, inputs={"x": 1}, timeout="1h")
    assert spec.template_ref is None
    assert (spec.message, spec.timeout, spec.inputs) == ("m", "1h", {"x": 1})
    assert spec_problems(spec) == []


def test_what_a_task_says_itself_wins_over_its_template() -> None:
    spec = resolved(
        {
            "sessionRef": {"name": "s"},
            "inputs": {"x": 2, "z": None},
            "timeout": "2h",
            "runtime": {"mode": "Task"},
            "ttlAfterFinished": "1m",
            "desiredState": "Suspended",
        },
        agentRef={"name": "a"},
        inputs={"x": 1, "y": 1},
        timeout="1h",
        ttlAfterFinished="24h",
    )
    assert spec.to_json() == {
        "sessionRef": {"name": "s"},
        "message": "m",
        "inputs": {"x": 2, "y": 1, "z": None},
        "timeout": "2h",
        "ttlAfterFinished": "1m",
        "runtime": {"mode": "Task"},
        "desiredState": "Suspended",
    }


def test_a_template_may_leave_its_agent_to_who_uses_it_and_is_checked_again_then() -> None:
    # Given a template whose prompt has nobody to answer it
    template = TaskTemplateSpec.model_validate({"task": {"message": "m"}})
    assert spec_problems(template) == []
    # Then a Task that names nobody either is refused
    assert [problem.path for problem in spec_problems(resolved({}))] == ["spec.message"]
    assert spec_problems(resolved({"agentRef": {"name": "a"}})) == []


def inline(spec: dict[str, Any], **parent: Any) -> list[Problem]:
    step = {"name": "child", "task": {"spec": spec}}
    read = read_spec(TaskSpec, {"steps": [step], **parent})
    assert isinstance(read, TaskSpec)
    return spec_problems(read)


def test_an_inline_task_has_its_parents_session_or_agent_unless_it_names_one() -> None:
    ask = {"steps": [{"name": "ask", "prompt": {"text": "?", "history": "Session"}}]}
    assert inline(ask, sessionRef={"name": "s"}) == []
    assert [p.path for p in inline(ask, agentRef={"name": "a"})] == [
        "spec.steps[0].task.spec.steps[0].prompt.history"
    ]
    assert [p.path for p in inline({**ask, "agentRef": {"name": "a"}}, sessionRef={"name": "s"})] == [
        "spec.steps[0].task.spec.steps[0].prompt.history"
    ]


def test_a_duration_in_an_inline_task_is_asked_for_by_example() -> None:
    spec = {"steps": [{"name": "nap", "sleep": {"duration": "a while"}}]}
    (problem,) = inline(spec)
    assert problem.path == "spec.steps[0].task.spec.steps[0].sleep.duration"
    assert problem.message == "must be a duration such as 30s, 5m or 1h30m"


@pytest.mark.parametrize(("levels", "refused"), [(5, False), (6, True)])
def test_tasks_may_stand_in_tasks_five_levels_deep(levels: int, refused: bool) -> None:
    spec: dict[str, Any] = {"steps": [{"name": "s", **RUN}]}
    for _ in range(levels - 1):
        spec = {"steps": [{"name": "s", "task": {"spec": spec}}]}
    assert bool(inline(spec)) == refused


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2027-01-31T09:00:00Z", datetime(2027, 1, 31, 9, tzinfo=UTC)),
        ("2027-01-31t09:00:00z", datetime(2027, 1, 31, 9, tzinfo=UTC)),
        ("2027-01-31T09:00:00.5+02:00", datetime(2027, 1, 31, 7, 0, 0, 500_000, tzinfo=UTC)),
        ("2027-01-31T09:00:00", None),
        ("2027-01-31", None),
        ("2027-02-31T09:00:00Z", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("٢٠٢٧-01-31T09:00:00Z", None),
        ("tomorrow", None),
    ],
)
def test_an_instant_is_read_as_rfc_3339_has_it(text: str, instant: datetime | None) -> None:
    assert read_instant(text) == instant
