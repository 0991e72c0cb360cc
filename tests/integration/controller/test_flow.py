"""Tasks of all shapes, from their creation to their end, with the real store, engine and evaluator."""

from typing import Any

import pytest
from parley.kube.kinds import TASK

from tests.integration.controller.cluster import Cluster, Exit, Run, is_prompt

STEP = {"container": {"image": "i"}}


def container(name: str, *args: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "container": {"image": "i", "args": list(args)}, **fields}


async def test_steps_run_one_after_the_other_with_few_writes(cluster: Cluster) -> None:
    await cluster.task("chain", container("one"), container("two"), container("three"))

    await cluster.settle()

    assert cluster.status("chain")["phase"] == "Succeeded", cluster.status("chain")
    assert [run.step for run in cluster.runs] == ["one", "two", "three"]
    writes = [r for r in cluster.kube.requests if r.verb not in {"get", "list"}]
    assert sum(r.verb == "create" and r.kind == "Job" for r in writes) == 3


async def test_branches_run_at_once(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: None
    await cluster.task(
        "branches",
        container("left", needs=[]),
        container("right", needs=[]),
        container("after", needs=["left", "right"]),
    )
    await cluster.settle()
    assert cluster.phases("branches") == {"left": "Running", "right": "Running", "after": "Pending"}

    for run in list(cluster.running.values()):
        await cluster.end(run, Exit())
    await cluster.settle()

    assert cluster.phases("branches")["after"] == "Running"


async def test_outputs_go_on_and_what_is_not_to_be_is_skipped(cluster: Cluster) -> None:
    def work(run: Run) -> Exit:
        return Exit(message='{"size": 3}' if run.step == "measure" else "")

    cluster.behaviour = work
    await cluster.task(
        "flow",
        container("measure"),
        container("big", when="{{ steps.measure.output.size > 5 }}"),
        container("small", "{{ steps.measure.output.size }}", when="{{ steps.measure.output.size <= 5 }}"),
        output={"big": "{{ steps.big.output }}", "size": "{{ steps.measure.output.size }}"},
    )

    await cluster.settle()

    assert cluster.status("flow")["phase"] == "Succeeded", cluster.status("flow")
    assert cluster.phases("flow") == {"measure": "Succeeded", "big": "Skipped", "small": "Succeeded"}
    assert cluster.runs[-1].args == ["3"]
    assert cluster.status("flow")["output"] == {"big": None, "size": 3}


async def test_a_failed_step_that_may_fail_fails_nothing(cluster: Cluster) -> None:
    cluster.behaviour = lambda run: Exit(3, "no luck") if run.step == "try" else Exit()
    await cluster.task("tolerant", container("try", continueOnError=True), container("then"))

    await cluster.settle()

    assert cluster.status("tolerant")["phase"] == "Succeeded", cluster.status("tolerant")
    assert cluster.phases("tolerant") == {"try": "Failed", "then": "Succeeded"}


async def test_return_ends_the_task_with_its_value(cluster: Cluster) -> None:
    await cluster.task(
        "early",
        container("first"),
        {"name": "done", "return": {"value": {"found": "{{ task.name }}"}}},
        container("never"),
    )

    await cluster.settle()

    status = cluster.status("early")
    assert (status["phase"], status["output"]) == ("Succeeded", {"found": "early"}), status
    assert cluster.phases("early") == {"first": "Succeeded", "done": "Succeeded", "never": "Skipped"}


async def test_fail_ends_the_task_for_its_reason(cluster: Cluster) -> None:
    await cluster.task(
        "refused", {"name": "no", "fail": {"message": "not on {{ task.name }}"}}, container("x")
    )

    await cluster.settle()

    status = cluster.status("refused")
    assert status["phase"] == "Failed"
    assert "not on refused" in str(status["conditions"])
    assert cluster.runs == []


async def test_a_sleep_costs_no_pod_and_ends(cluster: Cluster) -> None:
    await cluster.task("sleepy", {"name": "rest", "sleep": {"duration": "1s"}}, container("then"))
    await cluster.settle()
    assert cluster.step("sleepy", "rest")["reason"] == "Sleeping"
    assert cluster.jobs() == []

    await cluster.until(lambda: cluster.status("sleepy")["phase"] == "Succeeded", "the task's end")


async def test_set_changes_the_sessions_context(cluster: Cluster) -> None:
    await cluster.agent()
    await cluster.session(context={"order": "12", "old": "x"})
    await cluster.task(
        "remember",
        {"name": "note", "set": {"context": {"colour": "{{ inputs.colour }}", "old": None}}},
        container("use", "{{ session.context.colour }}", "{{ session.context.order }}"),
        sessionRef={"name": "alice"},
        inputs={"colour": "green"},
    )

    await cluster.settle()

    assert cluster.status("remember")["phase"] == "Succeeded", cluster.status("remember")
    assert cluster.runs[-1].args == ["green", "12"]


async def test_items_of_containers_run_in_parallel_and_keep_their_order(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: None
    await cluster.task(
        "fan",
        container(
            "each", "{{ item }}", "{{ index }}", forEach={"items": "{{ inputs.list }}", "parallelism": 2}
        ),
        inputs={"list": ["a", "b", "c", "d", "e"]},
    )
    await cluster.settle()
    most = 0
    while cluster.running:
        most = max(most, len(cluster.running))
        run = list(cluster.running.values())[-1]
        await cluster.end(run, Exit(message=f"did {run.args[0]}"))
        await cluster.settle()

    status = cluster.status("fan")
    assert status["phase"] == "Succeeded", status
    assert most == 2
    assert status["output"] == ["did a", "did b", "did c", "did d", "did e"]
    assert cluster.step("fan", "each")["items"] == {"total": 5, "succeeded": 5, "failed": 0, "active": 0}


async def test_an_item_that_fails_fails_the_step_and_names_itself(cluster: Cluster) -> None:
    cluster.behaviour = lambda run: Exit(2, "bad") if run.args == ["b"] else Exit()
    await cluster.task(
        "fan",
        container("each", "{{ item }}", forEach={"items": ["a", "b", "c"], "parallelism": 1}),
    )

    await cluster.settle()

    status = cluster.status("fan")
    assert status["phase"] == "Failed"
    assert "item 1: " in str(status["conditions"])
    assert [run.args for run in cluster.runs] == [["a"], ["b"]], "no new item starts after a failure"


async def test_an_empty_list_is_done_at_once(cluster: Cluster) -> None:
    await cluster.task(
        "fan", container("each", "{{ item }}", forEach={"items": "{{ inputs.none }}"}), inputs={"none": []}
    )

    await cluster.settle()

    assert cluster.status("fan")["phase"] == "Succeeded", cluster.status("fan")
    assert cluster.status("fan")["output"] == []
    assert cluster.runs == []


async def test_a_round_of_prompts_is_one_job_and_the_next_holds_only_what_failed(cluster: Cluster) -> None:
    tries: dict[str, int] = {}

    def work(run: Run) -> Exit | str:
        tries[run.job] = tries.get(run.job, 0) + 1
        first = run.job == cluster.runs[0].job
        return Exit(1) if first and run.index == 1 else f"{run.index} of {'first' if first else 'second'}"

    cluster.behaviour = work
    await cluster.agent()
    await cluster.task(
        "fan",
        {
            "name": "ask",
            "prompt": {"text": "{{ item }}?"},
            "forEach": {"items": ["a", "b", "c"]},
            "retry": {"limit": 1, "backoff": {"initial": "1s"}},
        },
        agentRef={"name": "support"},
    )

    await cluster.until(lambda: cluster.status("fan")["phase"] in {"Succeeded", "Failed"}, "the task's end")

    assert cluster.status("fan")["phase"] == "Succeeded", cluster.status("fan")
    assert len(cluster.jobs()) == 2
    assert cluster.status("fan")["output"] == ["0 of first", "0 of second", "2 of first"]


async def test_retries_wait_and_are_counted(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: Exit(1, "not yet") if len(cluster.runs) < 3 else Exit(message="at last")
    await cluster.task(
        "stubborn", container("try", retry={"limit": 2, "backoff": {"initial": "1s", "factor": 1}})
    )
    await cluster.settle()
    assert cluster.step("stubborn", "try")["reason"] == "Retrying"

    await cluster.until(lambda: cluster.status("stubborn")["phase"] == "Succeeded", "the third attempt")

    attempts = cluster.step("stubborn", "try")["attempts"]
    assert [(each["number"], each["phase"]) for each in attempts] == [
        (1, "Failed"),
        (2, "Failed"),
        (3, "Succeeded"),
    ]
    assert [each.get("exitCode") for each in attempts] == [1, 1, 0]


async def test_a_definite_exit_is_never_retried(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: Exit(64, "never")
    await cluster.task("definite", container("try", retry={"limit": 5, "backoff": {"initial": "1s"}}))

    await cluster.settle()

    assert cluster.status("definite")["phase"] == "Failed"
    assert len(cluster.runs) == 1


async def test_a_conversation_takes_its_turns(cluster: Cluster) -> None:
    await cluster.agent()
    await cluster.session()
    for name in ("first", "second"):
        await cluster.task(name, message="Hi", sessionRef={"name": "alice"})

    await cluster.settle()

    for name in ("first", "second"):
        assert cluster.status(name)["phase"] == "Succeeded", cluster.status(name)
    assert all(is_prompt(run.body) for run in cluster.runs)
    assert cluster.status("first")["output"] == "answer of reply"


async def test_what_a_step_logs_is_kept(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: None
    await cluster.task("talker", container("speak"))
    await cluster.settle()
    (run,) = cluster.running.values()
    cluster.kube.logs["team", f"{run.job}-0", "step"] = "a line\n" * 10_000 + "the end"

    await cluster.end(run, Exit())
    await cluster.settle()

    async with cluster.context.store() as connection:
        cursor = await connection.execute("SELECT log FROM attempts")
        (kept,) = [row[0] for row in await cursor.fetchall()]
    assert kept.endswith("a line\nthe end")
    assert len(kept.encode()) == 16_384


@pytest.mark.parametrize("phase", ["Suspended", "Cancelled"])
async def test_a_task_is_stopped_as_asked(cluster: Cluster, phase: str) -> None:
    cluster.behaviour = lambda _: None
    await cluster.task("long", container("one", needs=[]), container("two"))
    await cluster.settle()

    cluster.edit("long", desiredState=phase)
    await cluster.settle()
    for run in list(cluster.running.values()):
        await cluster.end(run, Exit())
    await cluster.settle()

    assert cluster.status("long")["phase"] == phase
    assert len(cluster.runs) == 1, "nothing starts any more"
    if phase == "Suspended":
        cluster.edit("long", desiredState="Running")
        await cluster.settle()
        assert [run.step for run in cluster.runs] == ["one", "two"]


async def test_a_new_leader_goes_on_where_the_old_one_stopped(cluster: Cluster) -> None:
    cluster.behaviour = lambda _: None
    await cluster.task(
        "chain", container("one"), {"name": "rest", "sleep": {"duration": "1s"}}, container("two")
    )
    await cluster.settle()
    cluster.lead_anew()
    await cluster.settle()
    (run,) = cluster.running.values()
    await cluster.end(run, Exit())
    await cluster.settle()
    assert cluster.step("chain", "rest")["reason"] == "Sleeping"

    cluster.lead_anew()
    await cluster.until(lambda: bool(cluster.running), "the second step")

    assert [run.step for run in cluster.runs] == ["one", "two"]
    assert cluster.object(TASK, "chain")["status"]["phase"] == "Running"
