"""Complete lists: what they add, what only they can tell gone, and what they must not undo."""

from collections.abc import Sequence
from typing import Any

import pytest
from parley.controller import listing
from parley.controller.context import AGENT_KEY, WARM_KEY, Context
from parley.controller.listing import take_in_everything
from parley.controller.queue import Key
from parley.controller.resource import workload_key
from parley.controller.sights import Sights
from parley.kube.errors import KubeError
from parley.kube.kinds import AGENT, DEPLOYMENT, JOB, POD, SESSION, TASK, Kind
from parley.store.records import OpenObject

from tests.fake_kube import FakeKube
from tests.unit.controller.contexts import storeless, woken
from tests.unit.controller.objects import NAMESPACE, agent_body, sample, session_body, task_body

OWNER = "00000000-0000-4000-8000-000000000001"


def cluster_with(objects: Sequence[tuple[Kind, dict[str, Any]]]) -> FakeKube:
    kube = FakeKube()
    for kind, body in objects:
        metadata = body["metadata"]
        metadata.setdefault("labels", {})["app.kubernetes.io/managed-by"] = "parley-operator"
        kube.objects[kind.kind, NAMESPACE, metadata["name"]] = body
    return kube


def given(
    monkeypatch: pytest.MonkeyPatch, kube: FakeKube, rows: Sequence[OpenObject] = ()
) -> tuple[Context, Sights]:
    async def list_open(_: object, cluster: str) -> Sequence[OpenObject]:
        assert cluster == "cluster-uid"
        return rows

    monkeypatch.setattr(listing, "list_open", list_open)
    context = storeless(kube)
    return context, Sights(context)


async def test_everything_is_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    kube = cluster_with(
        [
            (AGENT, agent_body()),
            (SESSION, session_body("alice")),
            (TASK, task_body("exit-0", session="alice", uid=OWNER)),
            (JOB, sample("job-complete")),
            (POD, sample("pod-exit-0")),
        ]
    )
    context, sights = given(monkeypatch, kube)

    await take_in_everything(context, sights)

    assert await woken(context) >= {"Agent support", "Session alice", "Task exit-0"}
    seen = context.projection.workloads.of_task(workload_key(NAMESPACE, OWNER))
    assert seen.jobs["exit-0"].completed
    assert seen.pods["exit-0"].exit_code == 0


async def test_jobs_and_pods_are_known_before_their_task_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that does not know them would make the Job again, or take it for lost."""
    objects = [(TASK, task_body("exit-0", uid=OWNER)), (JOB, sample("job-new")), (POD, sample("pod-running"))]
    context, sights = given(monkeypatch, cluster_with(objects))
    known: list[tuple[set[str], set[str]]] = []
    add = context.queue.add

    def watch(key: Key) -> None:
        add(key)
        if key.name == "exit-0" and context.projection.tasks.by_uid(OWNER) is not None:
            workload = context.projection.workloads.of_task(workload_key(NAMESPACE, OWNER))
            known.append((set(workload.jobs), set(workload.pods)))

    monkeypatch.setattr(context.queue, "add", watch)

    await take_in_everything(context, sights)

    assert known
    assert all(seen == ({"exit-0"}, {"exit-0"}) for seen in known)


async def test_what_an_ended_task_ran_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = task_body("exit-0", uid=OWNER, status={"phase": "Succeeded", "observedGeneration": 1})
    objects = [(TASK, ended), (JOB, sample("job-complete")), (POD, sample("pod-exit-0"))]
    context, sights = given(monkeypatch, cluster_with(objects))

    await take_in_everything(context, sights)

    assert context.projection.workloads.all() == {}
    assert await woken(context) == set()


async def test_an_object_that_went_unseen_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    context, sights = given(monkeypatch, FakeKube())
    sights.see(TASK, task_body("a", session="alice"), False)
    sights.see(SESSION, session_body("alice"), False)
    await woken(context)

    await take_in_everything(context, sights)

    assert await woken(context) >= {"GoneTask uid-of-a", "GoneSession uid-of-alice"}
    assert len(context.projection.tasks) == 0


async def test_an_object_that_was_made_while_the_list_was_on_its_way_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kube = FakeKube()
    context, sights = given(monkeypatch, kube)
    arrive = kube._arrive

    def while_it_is_on_its_way(verb: str, kind: Kind, namespace: str | None, name: str) -> None:
        arrive(verb, kind, namespace, name)
        if kind is TASK and verb == "list":
            sights.see(TASK, task_body("late"), False)
        if kind is JOB and verb == "list":
            sights.see(JOB, sample("job-new"), False)

    monkeypatch.setattr(kube, "_arrive", while_it_is_on_its_way)

    await take_in_everything(context, sights)

    assert await woken(context) >= {"Task late"}
    assert context.projection.tasks.get(NAMESPACE, "late") is not None
    assert "exit-0" in context.projection.workloads.of_task(workload_key(NAMESPACE, OWNER)).jobs


async def test_jobs_and_pods_that_went_unseen_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their step would else be shown Running until its timeout."""
    context, sights = given(monkeypatch, cluster_with([(TASK, task_body("exit-0", uid=OWNER))]))
    sights.see(JOB, sample("job-new"), False)
    sights.see(POD, sample("pod-running"), False)

    await take_in_everything(context, sights)

    seen = context.projection.workloads.of_task(workload_key(NAMESPACE, OWNER))
    assert (seen.jobs, seen.pods, seen.vanished) == ({}, {}, {"exit-0"})


async def test_an_agent_whose_runners_went_unseen_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would else have none until something else happens to it, and show those it had."""
    context, sights = given(monkeypatch, cluster_with([(AGENT, agent_body())]))
    sights.see(AGENT, agent_body(), False)
    owner = {"apiVersion": AGENT.api_version, "kind": "Agent", "name": "support", "controller": True}
    named = {**agent_body("warm")["metadata"], "ownerReferences": [{**owner, "uid": "uid-of-support"}]}
    runners: dict[str, Any] = {"metadata": named, "spec": {"replicas": 1}}
    sights.see(DEPLOYMENT, runners, False)
    await woken(context)

    await take_in_everything(context, sights)

    assert await woken(context) == {f"{AGENT_KEY} support", f"{WARM_KEY} support"}
    assert context.projection.runners.deployment(NAMESPACE, "uid-of-support") is None


async def test_a_pod_that_had_ended_stays_for_its_outcome_although_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context, sights = given(monkeypatch, cluster_with([(TASK, task_body("exit-0", uid=OWNER))]))
    sights.see(POD, sample("pod-exit-0"), False)

    await take_in_everything(context, sights)

    assert context.projection.workloads.of_task(workload_key(NAMESPACE, OWNER)).pods["exit-0"].exit_code == 0


@pytest.mark.parametrize(
    ("watched", "closed"),
    [((), {"GoneTask old-task", "GoneSession old-session"}), (("elsewhere",), set())],
    ids=["all namespaces", "another namespace"],
)
async def test_rows_without_an_object_are_closed_where_we_look(
    monkeypatch: pytest.MonkeyPatch, watched: tuple[str, ...], closed: set[str]
) -> None:
    rows = [
        OpenObject("Task", "uid-of-a", NAMESPACE, "a"),
        OpenObject("Task", "old-task", NAMESPACE, "a"),
        OpenObject("Session", "old-session", NAMESPACE, "alice"),
    ]
    kube = cluster_with([(TASK, task_body("a"))])
    context, sights = given(monkeypatch, kube, rows)
    object.__setattr__(context.settings, "watch_namespaces", watched)

    await take_in_everything(context, sights)

    assert {key for key in await woken(context) if key.startswith("Gone")} == closed


@pytest.mark.parametrize(
    ("kind", "bodies"),
    [
        (TASK, [task_body(name) for name in "abc"]),
        (TASK, [task_body(name, status={"phase": "Failed"}) for name in "abc"]),
        (SESSION, [session_body(name) for name in "abc"]),
    ],
    ids=["open tasks", "ended tasks", "sessions"],
)
async def test_what_went_while_a_list_expired_and_began_again_is_gone(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, bodies: list[dict[str, Any]]
) -> None:
    """Given pages of one object each, when the second page has expired and ``a`` is deleted, then ``a`` is gone."""
    kube = cluster_with([(kind, body) for body in bodies])
    kube.page_size = 1
    context, sights = given(monkeypatch, kube)
    arrive, lists = kube._arrive, 0

    def expire_once(verb: str, asked: Kind, namespace: str | None, name: str) -> None:
        nonlocal lists
        arrive(verb, asked, namespace, name)
        if verb == "list" and asked is kind:
            lists += 1
            if lists == 2:
                del kube.objects[kind.kind, NAMESPACE, "a"]
                raise KubeError(410, "Expired", "the continue parameter is too old")

    monkeypatch.setattr(kube, "_arrive", expire_once)

    await take_in_everything(context, sights)

    assert {resource.name for resource in sights.cache(kind)} == {"b", "c"}
