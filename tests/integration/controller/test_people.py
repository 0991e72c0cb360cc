"""Questions and replies: a task waits without a pod, and goes on with what a person said."""

from typing import Any

import pytest
from parley.controller.context import REPLY_KEY
from parley.kube.kinds import REPLY

from tests.integration.controller.cluster import NAMESPACE, Cluster

ASK = {"question": "Refund {{ inputs.amount }}?", "choices": ["approve", "reject"]}
STEPS: tuple[dict[str, Any], ...] = (
    {"name": "confirm", "wait": ASK},
    {
        "name": "pay",
        "when": "{{ steps.confirm.output.choice == 'approve' }}",
        "container": {"image": "i", "args": ["{{ steps.confirm.output.by }}"]},
    },
)


async def asked(cluster: Cluster, *steps: dict[str, Any]) -> str:
    """Begin a task that asks; return the id of its question."""
    await cluster.task("refund", *(steps or STEPS), inputs={"amount": 5})
    await cluster.settle()
    (entry,) = cluster.status("refund")["waiting"]
    return str(entry["id"])


async def reply(cluster: Cluster, name: str, wait_id: str, **said: Any) -> dict[str, Any]:
    spec = {"taskRef": {"name": "refund"}, "waitID": wait_id, "by": "alice@company.com", **said}
    await cluster.apply(REPLY, name, spec)
    await cluster.settle()
    return cluster.object(REPLY, name)["status"]


def verdict(status: dict[str, Any]) -> tuple[str, str]:
    (accepted,) = [each for each in status["conditions"] if each["type"] == "Accepted"]
    return accepted["status"], accepted["reason"]


async def test_a_task_asks_and_goes_on_with_the_answer(cluster: Cluster) -> None:
    wait_id = await asked(cluster)
    status = cluster.status("refund")
    assert status["phase"] == "WaitingForInput"
    assert status["waiting"][0]["question"] == "Refund 5?"
    assert status["waiting"][0]["choices"] == ["approve", "reject"]
    assert cluster.runs == []

    said = await reply(cluster, "yes", wait_id, choice="approve")

    assert verdict(said) == ("True", "Accepted")
    assert cluster.status("refund")["phase"] == "Succeeded", cluster.status("refund")
    assert cluster.runs[0].args == ["alice@company.com"]
    assert "waiting" not in cluster.status("refund")


@pytest.mark.parametrize(
    ("said", "why"),
    [({"choice": "maybe"}, "UnknownChoice"), ({"value": 3}, "UnknownChoice")],
)
async def test_what_is_no_answer_is_refused_and_the_question_stands(
    cluster: Cluster, said: dict[str, Any], why: str
) -> None:
    wait_id = await asked(cluster)

    assert verdict(await reply(cluster, "odd", wait_id, **said)) == ("False", why)

    assert cluster.status("refund")["phase"] == "WaitingForInput"


async def test_the_first_answer_counts(cluster: Cluster) -> None:
    wait_id = await asked(cluster)
    await reply(cluster, "no", wait_id, choice="reject")

    assert verdict(await reply(cluster, "yes", wait_id, choice="approve")) == ("False", "AlreadyAnswered")

    assert cluster.phases("refund") == {"confirm": "Succeeded", "pay": "Skipped"}


async def test_a_value_must_fit_the_questions_schema(cluster: Cluster) -> None:
    schema = {"type": "object", "properties": {"amount": {"type": "integer"}}, "required": ["amount"]}
    wait_id = await asked(cluster, {"name": "how-much", "wait": {"question": "How much?", "schema": schema}})
    assert verdict(await reply(cluster, "words", wait_id, value={"amount": "a lot"})) == (
        "False",
        "SchemaMismatch",
    )

    assert verdict(await reply(cluster, "number", wait_id, value={"amount": 7})) == ("True", "Accepted")

    assert cluster.status("refund")["output"]["value"] == {"amount": 7}


async def test_nobody_answers_in_time(cluster: Cluster) -> None:
    wait_id = await asked(cluster, {"name": "confirm", "wait": {**ASK, "timeout": "1s"}})

    await cluster.until(lambda: cluster.status("refund")["phase"] == "Failed", "the end of the patience")

    assert cluster.step("refund", "confirm")["reason"] == "WaitTimeout"
    assert verdict(await reply(cluster, "late", wait_id, choice="approve"))[0] == "False"


async def test_silence_has_a_meaning_where_the_step_says_so(cluster: Cluster) -> None:
    await asked(
        cluster, {"name": "confirm", "wait": {**ASK, "timeout": "1s", "onTimeout": "reject"}}, STEPS[1]
    )

    await cluster.until(lambda: cluster.status("refund")["phase"] == "Succeeded", "the end of the patience")

    assert cluster.step("refund", "confirm")["output"]["choice"] == "reject"
    assert cluster.phases("refund")["pay"] == "Skipped"


async def test_an_old_reply_never_answers_a_new_run(cluster: Cluster) -> None:
    wait_id = await asked(cluster)
    del cluster.kube.objects["Task", "team", "refund"]
    cluster.lead_anew()
    new_id = await asked(cluster)
    assert new_id != wait_id

    assert verdict(await reply(cluster, "kept-in-git", wait_id, choice="approve")) == ("False", "NotWaiting")

    assert cluster.status("refund")["phase"] == "WaitingForInput"


async def test_a_reply_may_come_before_its_task(cluster: Cluster) -> None:
    status = await reply(cluster, "early", "5d4b2a34-0000-4000-8000-000000000000", choice="approve")
    assert verdict(status)[0] == "Unknown"

    await asked(cluster)

    assert verdict(cluster.object(REPLY, "early")["status"]) == ("False", "NotWaiting")


async def test_a_reply_to_a_task_that_is_gone_is_refused(cluster: Cluster) -> None:
    wait_id = await asked(cluster)
    await cluster.kube_delete("refund")
    await cluster.settle()

    status = await reply(cluster, "late", wait_id, choice="approve")

    assert verdict(status) == ("False", "NotWaiting")
    assert status["conditions"][0]["message"] == "Task refund, which asked this, is gone"


async def test_a_reply_that_meets_the_end_of_its_task_is_refused_once_that_is_known(cluster: Cluster) -> None:
    wait_id = await asked(cluster)
    # Given a Task that is gone, whose rows still say that it asks
    await cluster.kube_delete("refund")
    spec = {"taskRef": {"name": "refund"}, "waitID": wait_id, "by": "alice@company.com", "choice": "approve"}
    await cluster.apply(REPLY, "late", spec)
    await cluster.workers._by_kind[REPLY_KEY](NAMESPACE, "late")
    assert verdict(cluster.object(REPLY, "late")["status"]) == ("Unknown", "Pending")

    await cluster.settle()

    assert verdict(cluster.object(REPLY, "late")["status"]) == ("False", "NotWaiting")


async def test_a_reply_to_another_tasks_question_waits_for_nobody(cluster: Cluster) -> None:
    wait_id = await asked(cluster)

    status = await reply(cluster, "mistaken", wait_id, choice="approve", taskRef={"name": "order"})

    assert verdict(status) == ("False", "NotWaiting")
    assert status["conditions"][0]["message"] == "spec.waitID is of Task refund, not of order"
    assert cluster.status("refund")["phase"] == "WaitingForInput"


async def test_the_answer_joins_the_conversation(cluster: Cluster) -> None:
    await cluster.agent()
    await cluster.session()
    await cluster.task("refund", STEPS[0], sessionRef={"name": "alice"}, inputs={"amount": 5})
    await cluster.settle()
    (entry,) = cluster.status("refund")["waiting"]

    await reply(cluster, "yes", entry["id"], choice="approve", message="go on")

    async with cluster.context.store() as connection:
        cursor = await connection.execute("SELECT type, content FROM events")
        ((kind, content),) = await cursor.fetchall()
    assert kind == "reply"
    assert (content["choice"], content["by"], content["message"]) == ("approve", "alice@company.com", "go on")
