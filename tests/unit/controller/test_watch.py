"""What is asked of Kopf so that 10,000 objects cost little: it must go on fitting Kopf's insides."""

import asyncio
import inspect
from typing import Any, cast

import kopf
from kopf._core.reactor.inventory import ResourceMemories
from parley.controller.watch import NoDiffBase, NoMemories, Watch, taken
from parley.kube.kinds import TASK, Kind

from tests.unit.controller.objects import task_body


async def test_kopf_remembers_nothing_of_an_object() -> None:
    # given Kopf as it is, which remembers each
    body: Any = task_body("a")
    theirs, ours = ResourceMemories(), NoMemories()
    await theirs.recall(body, noticed_by_listing=True)
    assert len([*theirs.iter_all_memories()]) == 1

    # when it asks ours, as it does at each sight
    memory = await ours.recall(body, noticed_by_listing=True, memobase=kopf.Memo(mark=1))

    # then it gets what it needs, and that is not kept
    assert memory.noticed_by_listing
    assert memory.memo == {"mark": 1}
    assert [*ours.iter_all_memories()] == []
    await ours.forget(body)


def test_kopf_still_takes_both_from_its_users() -> None:
    assert "memories" in inspect.signature(kopf.operator).parameters
    assert hasattr(kopf.OperatorSettings().persistence, "diffbase_storage")


def test_no_object_is_compared() -> None:
    storage = NoDiffBase()
    body = kopf.Body(task_body("a"))

    assert storage.build(body=body, extra_fields=[]) == {}
    assert storage.fetch(body=body) is None


def test_an_object_is_taken_over_and_kopf_left_with_its_metadata() -> None:
    body = task_body("a")
    unread: dict[str, Any] = {"managedFields": [{"manager": "kubectl"}], "annotations": {"a": "b"}}
    kopfs: dict[str, Any] = {**body, "metadata": {**body["metadata"], **unread}}

    assert taken(kopfs) == body
    assert kopfs == {"metadata": {**body["metadata"], "annotations": {"a": "b"}}}


async def test_a_sight_is_handed_over_whole() -> None:
    sights: list[tuple[Kind, dict[str, Any], bool]] = []
    watch = Watch(lambda *sight: sights.append(sight), ())
    see = watch._handler(TASK)

    for change in (None, "MODIFIED", "DELETED"):
        await cast("Any", see)(event={"type": change, "object": task_body("a")})
    await asyncio.sleep(0)

    assert sights == [
        (TASK, task_body("a"), False),
        (TASK, task_body("a"), False),
        (TASK, task_body("a"), True),
    ]


def test_of_annotations_only_those_that_are_read_are_taken_over() -> None:
    read = {"parley.dev/run-now": "1", "meta.helm.sh/release-name": "shop"}
    body = task_body("a")
    kopfs: dict[str, Any] = {**body, "metadata": {**body["metadata"], "annotations": {**read, "a": "b"}}}

    assert taken(kopfs)["metadata"] == {**body["metadata"], "annotations": read}
