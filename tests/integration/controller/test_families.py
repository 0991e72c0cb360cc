"""Children and templates: made, watched, ended together, and readable in their parents."""

from typing import Any

import pytest
from parley.kube.errors import Forbidden, Invalid, KubeUnavailable
from parley.kube.kinds import AGENT, SESSION, TASK, TASK_TEMPLATE

from tests.integration.controller.cluster import Cluster, Exit, Run

ONE_STEP = {"steps": [{"name": "work", "container": {"image": "i", "args": ["{{ inputs.word }}"]}}]}
SCHEMA = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}


def echo(run: Run) -> Exit:
    return Exit(message=f"said {run.args[0]}")


async def a_template(cluster: Cluster, name: str = "say", **task: Any) -> None:
    await cluster.apply(TASK_TEMPLATE, name, {"inputSchema": SCHEMA, "task": {**ONE_STEP, **task}})


def child_of(cluster: Cluster, parent: str) -> str:
    (name,) = [name for name in cluster.tasks() if name != parent]
    return name


async def test_a_tasks_template_is_what_it_was_when_the_task_began(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: None
    await a_template(cluster)
    await cluster.task("hello", templateRef={"name": "say"}, inputs={"word": "hi"})
    await cluster.settle()

    cluster.kube.edit(
        TASK_TEMPLATE,
        "team",
        "say",
        lambda body: body["spec"]["task"].update(message="other"),  # type: ignore[index,call-overload,union-attr]
    )
    cluster.lead_anew()
    await cluster.settle()
    (run,) = cluster.running.values()
    assert run.args == ["hi"]
    await cluster.end(run, Exit(message="done"))
    await cluster.settle()

    assert cluster.status("hello")["phase"] == "Succeeded", cluster.status("hello")
    assert cluster.status("hello")["output"] == "done"


async def test_a_task_waits_for_its_template_and_begins_when_it_comes(cluster: Cluster) -> None:
    cluster.behaviour = echo
    await cluster.task("hello", templateRef={"name": "say"}, inputs={"word": "hi"})
    await cluster.settle()
    status = cluster.status("hello")
    assert (status["phase"], status["conditions"][0]["reason"]) == ("Pending", "TemplateNotFound")

    await a_template(cluster)
    await cluster.settle()

    assert cluster.status("hello")["output"] == "said hi"


async def test_a_task_that_waits_for_its_template_can_be_cancelled(cluster: Cluster) -> None:
    await cluster.task("hello", templateRef={"name": "say"})
    await cluster.settle()

    cluster.edit("hello", desiredState="Cancelled")
    await cluster.settle()

    assert cluster.status("hello")["phase"] == "Cancelled"


async def test_inputs_must_fit_the_templates_schema(cluster: Cluster) -> None:
    await a_template(cluster)
    await cluster.task("hello", templateRef={"name": "say"}, inputs={"word": 5})

    await cluster.settle()

    status = cluster.status("hello")
    assert status["phase"] == "Failed"
    said = status["conditions"][0]
    assert said["reason"] == "InvalidSpec"
    assert "spec.inputs.word" in said["message"]


async def test_a_broken_template_holds_its_tasks_until_it_is_mended(cluster: Cluster) -> None:
    cluster.behaviour = echo
    broken = {"steps": [{"name": "work", "container": {"image": "i", "args": ["{{ inputs.word"]}}]}
    await cluster.apply(TASK_TEMPLATE, "say", {"task": broken})
    await cluster.task("hello", templateRef={"name": "say"}, inputs={"word": "hi"})
    await cluster.settle()
    status = cluster.status("hello")
    assert (status["phase"], status["conditions"][0]["reason"]) == ("Pending", "InvalidSpec")
    assert "TaskTemplate say" in status["conditions"][0]["message"]

    cluster.kube.edit(TASK_TEMPLATE, "team", "say", lambda body: body.update(spec={"task": ONE_STEP}))
    await cluster.settle()

    assert cluster.status("hello")["output"] == "said hi"


async def test_the_session_that_a_template_names_gives_turns(cluster: Cluster) -> None:
    await cluster.agent()
    await cluster.session()
    await cluster.apply(TASK_TEMPLATE, "greet", {"task": {"message": "Hi", "sessionRef": {"name": "alice"}}})
    await cluster.task("hello", templateRef={"name": "greet"})
    await cluster.task("direct", message="Hi", sessionRef={"name": "alice"})

    await cluster.settle()

    for name in ("hello", "direct"):
        assert cluster.status(name)["phase"] == "Succeeded", cluster.status(name)


async def test_a_childs_output_comes_up(cluster: Cluster) -> None:
    cluster.behaviour = echo
    child = {"name": "ask", "task": {"spec": ONE_STEP, "inputs": {"word": "{{ inputs.word }}"}}}
    await cluster.task("parent", child, output={"heard": "{{ steps.ask.output }}"}, inputs={"word": "hi"})

    await cluster.settle()

    assert cluster.status("parent")["phase"] == "Succeeded", cluster.status("parent")
    assert cluster.status("parent")["output"] == {"heard": "said hi"}
    made = cluster.object(TASK, child_of(cluster, "parent"))
    assert cluster.step("parent", "ask")["task"] == made["metadata"]["name"]
    assert made["status"]["parent"] == "parent"
    assert made["metadata"]["labels"]["parley.dev/parent"] == "parent"


async def test_a_childs_failure_is_readable_in_its_parent(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: Exit(3, "no such word")
    child = {"name": "ask", "task": {"spec": ONE_STEP, "inputs": {"word": "x"}}}
    await cluster.task("parent", child)

    await cluster.settle()

    said = str(cluster.status("parent")["conditions"])
    assert cluster.status("parent")["phase"] == "Failed"
    assert "no such word" in said
    assert child_of(cluster, "parent") in said


async def test_a_child_has_its_parents_agent_unless_its_template_names_one(cluster: Cluster) -> None:
    await cluster.agent()
    await cluster.agent("expert")
    own = {"steps": [{"name": "p", "prompt": {"text": "?"}}], "agentRef": {"name": "expert"}}
    await cluster.apply(TASK_TEMPLATE, "expertise", {"task": own})
    await cluster.task(
        "parent",
        {"name": "inherits", "task": {"spec": {"steps": [{"name": "p", "prompt": {"text": "?"}}]}}},
        {"name": "brings", "task": {"templateRef": {"name": "expertise"}}},
        agentRef={"name": "support"},
    )

    await cluster.settle()

    assert cluster.status("parent")["phase"] == "Succeeded", cluster.status("parent")
    agents = {
        step: cluster.status(cluster.step("parent", step)["task"])["agent"] for step in ("inherits", "brings")
    }
    assert agents == {"inherits": "support", "brings": "expert"}


@pytest.mark.parametrize("how", ["cancelled", "deleted"])
async def test_a_child_ends_with_its_parent(cluster: Cluster, how: str) -> None:
    cluster.behaviour = lambda _: None
    child = {"name": "ask", "task": {"spec": ONE_STEP, "inputs": {"word": "x"}}}
    await cluster.task("parent", child)
    await cluster.settle()
    name = child_of(cluster, "parent")
    assert cluster.status(name)["phase"] == "Running"

    if how == "cancelled":
        cluster.edit("parent", desiredState="Cancelled")
    else:
        await cluster.kube.delete(TASK, "team", "parent")
    await cluster.settle()

    assert cluster.status(name)["phase"] == "Cancelled", cluster.status(name)


async def test_a_suspended_parent_suspends_its_child(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: None
    two = {"steps": [*ONE_STEP["steps"], {"name": "then", "container": {"image": "i"}}]}
    await cluster.task("parent", {"name": "ask", "task": {"spec": two, "inputs": {"word": "x"}}})
    await cluster.settle()
    name = child_of(cluster, "parent")

    cluster.edit("parent", desiredState="Suspended")
    await cluster.settle()
    for run in list(cluster.running.values()):
        await cluster.end(run, Exit())
    await cluster.settle()
    assert cluster.status(name)["phase"] == "Suspended", cluster.status(name)

    cluster.edit("parent", desiredState="Running")
    await cluster.settle()
    assert [run.step for run in cluster.runs] == ["work", "then"]


async def test_a_child_that_is_deleted_fails_its_step(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: None
    child = {"name": "ask", "task": {"spec": ONE_STEP, "inputs": {"word": "x"}}}
    await cluster.task("parent", child)
    await cluster.settle()

    await cluster.kube.delete(TASK, "team", child_of(cluster, "parent"))
    await cluster.settle()

    assert cluster.status("parent")["phase"] == "Failed"
    assert "deleted" in str(cluster.status("parent")["conditions"])


async def test_a_child_for_each_item(cluster: Cluster) -> None:
    cluster.behaviour = echo
    each = {
        "name": "ask",
        "forEach": {"items": ["a", "b", "c"], "parallelism": 2},
        "task": {"spec": ONE_STEP, "inputs": {"word": "{{ item }}"}},
    }
    await cluster.task("parent", each)

    await cluster.settle()

    assert cluster.status("parent")["output"] == ["said a", "said b", "said c"], cluster.status("parent")
    assert len(cluster.tasks()) == 4


async def test_a_family_has_a_bottom(cluster: Cluster) -> None:
    await cluster.apply(
        TASK_TEMPLATE,
        "deeper",
        {"task": {"steps": [{"name": "down", "task": {"templateRef": {"name": "deeper"}}}]}},
    )
    await cluster.task("top", templateRef={"name": "deeper"})

    await cluster.settle()

    assert cluster.status("top")["phase"] == "Failed"
    assert len(cluster.tasks()) == 6, "five levels below the first"
    assert "five levels" in str([cluster.status(name)["conditions"] for name in cluster.tasks()])


async def test_a_task_of_that_name_that_is_not_the_parents_is_no_child(cluster: Cluster) -> None:
    cluster.behaviour = echo
    child = {"name": "ask", "task": {"spec": ONE_STEP, "inputs": {"word": "x"}}}
    uid = await cluster.task("parent", child)
    from parley.engine.names import child_name

    await cluster.task(child_name("parent", uid, "ask", -1, 1), {"name": "x", "sleep": {"duration": "1h"}})
    await cluster.settle()

    assert cluster.status("parent")["phase"] == "Failed"
    assert "is not this task's" in str(cluster.status("parent")["conditions"])


async def test_an_agent_that_comes_late_wakes_the_tasks_of_its_templates(cluster: Cluster) -> None:
    await cluster.apply(TASK_TEMPLATE, "greet", {"task": {"message": "Hi", "agentRef": {"name": "support"}}})
    await cluster.task("hello", templateRef={"name": "greet"})
    await cluster.settle()
    assert cluster.status("hello")["conditions"][0]["reason"] == "AgentNotFound"

    await cluster.apply(AGENT, "support", {"model": {"provider": "OpenAI", "name": "scripted"}})
    await cluster.settle()

    assert cluster.status("hello")["phase"] == "Succeeded"


CHILD = {"name": "ask", "task": {"spec": ONE_STEP, "inputs": {"word": "x"}}}


async def test_a_child_that_the_api_server_refuses_fails_the_step_and_says_why(cluster: Cluster) -> None:
    await cluster.task("parent", CHILD)
    cluster.kube.fail(Invalid(422, "Invalid", "spec.steps[0].name: too long"), verb="create", kind="Task")

    await cluster.settle()

    status = cluster.status("parent")
    assert (status["phase"], cluster.step("parent", "ask")["reason"]) == ("Failed", "InvalidSpec")
    assert "spec.steps[0].task: spec.steps[0].name: too long" in str(status["conditions"])
    assert cluster.tasks() == ["parent"]


async def test_a_child_that_a_quota_keeps_away_is_tried_again(cluster: Cluster) -> None:
    cluster.behaviour = echo
    await cluster.task("parent", CHILD)
    refusal = Forbidden(403, "Forbidden", "exceeded quota: count/tasks.parley.dev")
    cluster.kube.fail(refusal, verb="create", kind="Task")

    with pytest.raises(KubeUnavailable, match="exceeded quota"):
        await cluster.settle()
    cluster.context.wake("Task", "team", "parent")  # as a worker does, after a pause
    await cluster.settle()

    assert cluster.status("parent")["phase"] == "Succeeded", cluster.status("parent")


async def test_a_leader_that_fell_between_the_childs_making_and_its_row_finds_it(cluster: Cluster) -> None:
    """Given a child that was made by a leader which then fell, when another leads, there is still one child."""
    cluster.behaviour = echo
    await cluster.task("parent", CHILD)
    cluster.kube.fail(KubeUnavailable(0, "Timeout", "no answer"), verb="patch", kind="Task")
    with pytest.raises(KubeUnavailable):
        await cluster.settle()

    cluster.lead_anew()
    await cluster.settle()

    assert cluster.status("parent")["phase"] == "Succeeded", cluster.status("parent")
    assert len(cluster.tasks()) == 2


@pytest.mark.parametrize("early", [True, False], ids=["template first", "template later"])
async def test_a_templates_agent_wins_over_the_parents_whenever_it_comes(
    cluster: Cluster, early: bool
) -> None:
    await cluster.agent()
    await cluster.agent("expert")
    await cluster.session()
    own = {"steps": [{"name": "p", "prompt": {"text": "?"}}], "agentRef": {"name": "expert"}}
    plain = {"steps": [{"name": "p", "prompt": {"text": "?"}}]}

    async def templates() -> None:
        await cluster.apply(TASK_TEMPLATE, "expertise", {"task": own})
        await cluster.apply(TASK_TEMPLATE, "anyone", {"task": plain})

    if early:
        await templates()
    await cluster.task(
        "parent",
        {"name": "brings", "task": {"templateRef": {"name": "expertise"}}},
        {"name": "inherits", "task": {"templateRef": {"name": "anyone"}}, "needs": []},
        sessionRef={"name": "alice"},
    )
    await cluster.settle()
    if not early:
        await templates()
        await cluster.settle()

    assert cluster.status("parent")["phase"] == "Succeeded", [cluster.status(n) for n in cluster.tasks()]
    children = {step: cluster.status(cluster.step("parent", step)["task"]) for step in ("brings", "inherits")}
    assert {step: status["agent"] for step, status in children.items()} == {
        "brings": "expert",
        "inherits": "support",
    }
    assert cluster.object(SESSION, "alice")["status"]["events"]["messages"] == 2, (
        "the one that inherits spoke there"
    )
