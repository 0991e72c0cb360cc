"""What the operator remembers of the cluster, whatever the order in which it learns it."""

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from parley.controller.finality import is_final
from parley.controller.projection import Projection, ResourceCache, Workloads
from parley.engine.pods import JobView, PodView

from tests.unit.controller.objects import NAMESPACE, body, resource, task_body

OLD = resource(task_body("a", session="alice", version=5))
NEW = resource(task_body("a", session="alice", version=7))
AGAIN = resource(task_body("a", session="bob", uid="another", version=9))


def cache() -> ResourceCache:
    return ResourceCache("sessionRef")


def test_an_object_is_read_whole() -> None:
    given: dict[str, Any] = task_body("a", session="alice", version=12, status={"phase": "Running"})
    given["metadata"] |= {"generation": 3, "deletionTimestamp": "2026-11-23T12:00:00Z"}

    made = resource(given)

    assert (made.uid, made.key, made.generation, made.resource_version) == (
        "uid-of-a",
        (NAMESPACE, "a"),
        3,
        "12",
    )
    assert made.created.isoformat() == "2026-11-23T12:00:00+00:00"
    assert made.deleting
    assert made.spec["sessionRef"] == {"name": "alice"}
    assert made.status == {"phase": "Running"}


def test_a_sight_is_news_once() -> None:
    known = cache()

    assert known.see(OLD)
    assert not known.see(OLD)
    assert known.see(NEW)
    assert not known.see(OLD), "a list may be older than what the watch has brought"
    assert known.get(NAMESPACE, "a") is NEW
    assert known.by_uid("uid-of-a") is NEW


@pytest.mark.parametrize("order", [*permutations(["old", "new", "gone"])])
def test_a_deleted_object_never_comes_back(order: tuple[str, ...]) -> None:
    known = cache()

    for what in order:
        if what == "gone":
            known.drop(NEW)
        else:
            known.see({"old": OLD, "new": NEW}[what])

    assert known.get(NAMESPACE, "a") is None
    assert known.by_uid("uid-of-a") is None
    assert known.referring_to(NAMESPACE, "alice") == []
    assert len(known) == 0


@pytest.mark.parametrize("order", [*permutations([OLD, NEW, AGAIN])])
def test_an_object_made_again_is_another(order: tuple[Any, ...]) -> None:
    """Its deletion was missed; the new one has a higher version, and is what counts."""
    known = cache()

    for each in order:
        known.see(each)
    known.drop(NEW)

    assert known.get(NAMESPACE, "a") is AGAIN
    assert known.by_uid("another") is AGAIN
    assert known.by_uid("uid-of-a") is None
    assert known.referring_to(NAMESPACE, "alice") == []
    assert known.referring_to(NAMESPACE, "bob") == [AGAIN]


def test_objects_are_found_by_what_they_refer_to() -> None:
    known = cache()
    made = {
        name: resource(task_body(name, session=session))
        for name, session in zip("abc", ["x", "y", "x"], strict=True)
    }
    for each in made.values():
        known.see(each)
    known.see(resource(task_body("without")))

    assert {r.name for r in known.referring_to(NAMESPACE, "x")} == {"a", "c"}
    assert known.referring_to("elsewhere", "x") == []

    known.drop(made["a"])

    assert {r.name for r in known.referring_to(NAMESPACE, "x")} == {"c"}


def test_versions_are_numbers() -> None:
    known = cache()

    assert known.see(resource(task_body("a", version=9)))
    assert known.see(resource(task_body("a", version=10)))


# Jobs and pods.

JOB, POD = JobView("job-1", "job-uid", version=3), PodView("pod-1", "pod-uid", "Pending", version=3)
RUNNING = PodView("pod-1", "pod-uid", "Running", running=True, version=4)
ENDED = PodView("pod-1", "pod-uid", "Succeeded", exit_code=0, version=5)


def test_the_newest_sight_of_a_pod_counts_in_whatever_order_they_come() -> None:
    for order in permutations([POD, RUNNING, ENDED]):
        known = Workloads()
        for pod in order:
            known.see_pod("task", "job-1", pod)

        assert known.of_task("task").pods == {"job-1": ENDED}


def test_only_what_changes_something_is_news() -> None:
    known = Workloads()

    assert known.see_job("task", JOB)
    assert not known.see_job("task", JobView("job-1", "job-uid", version=4)), "only its version is another"
    assert known.see_job("task", JobView("job-1", "job-uid", completed=True, version=5))
    assert not known.see_job("task", JobView("job-1", "job-uid", version=4)), "that is old"
    assert known.of_task("task").jobs["job-1"].completed
    assert known.see_pod("task", "job-1", POD)
    assert not known.see_pod("task", "job-1", POD)


def test_a_deleted_job_is_remembered_and_never_comes_back() -> None:
    known = Workloads()
    known.see_job("task", JOB)

    known.drop_job("task", "job-1")
    known.see_job("task", JobView("job-1", "job-uid", version=9))

    seen = known.of_task("task")
    assert (seen.jobs, seen.vanished) == ({}, {"job-1"})


@pytest.mark.parametrize("last", [POD, RUNNING])
def test_a_deleted_pod_is_gone_and_never_comes_back(last: PodView) -> None:
    known = Workloads()
    known.see_pod("task", "job-1", last)

    assert known.drop_pod("task", "job-1", "pod-uid")
    known.see_pod("task", "job-1", last)

    assert known.of_task("task").pods == {}


def test_a_deleted_pod_that_was_seen_to_end_is_kept_for_its_outcome() -> None:
    known = Workloads()
    known.see_pod("task", "job-1", ENDED)

    assert known.drop_pod("task", "job-1", "pod-uid")
    assert not known.drop_pod("task", "job-1", "pod-uid"), "that is no news"

    kept = known.of_task("task").pods["job-1"]
    assert (kept.exit_code, kept.gone) == (ENDED.exit_code, True)


def test_another_pods_deletion_changes_nothing() -> None:
    known = Workloads()
    known.see_pod("task", "job-1", RUNNING)

    assert not known.drop_pod("task", "job-1", "older-pod")

    assert known.of_task("task").pods == {"job-1": RUNNING}


def test_what_is_given_out_does_not_change_afterwards() -> None:
    """A plan is made from one moment, although sights come in while the rows are read."""
    known = Workloads()
    known.see_job("task", JOB)
    given = known.of_task("task")

    known.see_pod("task", "job-1", POD)
    known.drop_job("task", "job-1")

    assert (given.jobs, given.pods, given.vanished) == ({"job-1": JOB}, {}, set())


def test_tasks_do_not_see_each_others_work() -> None:
    known = Workloads()
    known.see_job("task", JOB)

    assert known.of_task("other").jobs == {}

    known.forget_task("task")

    assert known.of_task("task").jobs == {}
    assert known.all() == {}, "asking for a task leaves nothing behind"


def test_of_an_ended_task_only_what_is_still_asked_is_kept() -> None:
    """Ended tasks stay for as long as somebody wants; their inputs and outputs need not stay in memory."""
    known = Projection().tasks
    ended = task_body("a", session="alice", status={"phase": "Succeeded", "output": "x" * 1000})
    ended["spec"]["inputs"] = {"large": "x" * 1000}

    assert known.see(resource(ended))
    assert not known.see(resource(ended))

    kept = known.get(NAMESPACE, "a")
    assert kept is not None
    assert is_final(kept)
    assert known.referring_to(NAMESPACE, "alice") == [kept]
    assert "x" * 10 not in str((kept.spec, kept.status))
    known.drop(kept)
    assert known.referring_to(NAMESPACE, "alice") == []


def test_an_open_task_is_kept_whole() -> None:
    known = Projection().tasks
    running = resource(task_body("a", session="alice", status={"phase": "Running", "progress": "0/1"}))
    known.see(running)

    assert known.get(NAMESPACE, "a") == running


def test_of_an_ended_task_what_its_removal_its_parent_and_its_schedule_need_is_kept() -> None:
    known = Projection().tasks
    status = {
        "phase": "Failed",
        "observedGeneration": 1,
        "completionTime": "2026-11-23T12:00:00Z",
        "output": "x" * 99,
    }
    ended = task_body("a", status=status)
    ended["spec"]["ttlAfterFinished"] = "1h30m"
    ended["metadata"] |= {
        "ownerReferences": [{"kind": "Schedule", "name": "nightly", "uid": "maker", "controller": True}],
        "annotations": {"meta.helm.sh/release-name": "shop", "kubectl.kubernetes.io/x": "y" * 1000},
    }

    known.see(resource(ended))

    (kept,) = known.owned_by("maker")
    assert (kept.owner and kept.owner[:2], kept.mark) == (
        ("Schedule", "nightly"),
        "meta.helm.sh/release-name",
    )
    assert (kept.ttl, kept.completed) == (timedelta(minutes=90), datetime(2026, 11, 23, 12, tzinfo=UTC))
    assert not kept.pruned
    assert kept.annotations == {}
    known.drop(kept)
    assert known.owned_by("maker") == []


@pytest.mark.parametrize(
    ("metadata", "mark"),
    [
        ({}, None),
        ({"labels": {"app.kubernetes.io/name": "x"}, "annotations": {"parley.dev/run-now": "1"}}, None),
        ({"labels": {"app.kubernetes.io/instance": "shop"}}, "app.kubernetes.io/instance"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "shop"}}, "kustomize.toolkit.fluxcd.io/name"),
        ({"labels": {"helm.toolkit.fluxcd.io/name": "shop"}}, "helm.toolkit.fluxcd.io/name"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "shop"}}, "argocd.argoproj.io/tracking-id"),
        ({"annotations": {"meta.helm.sh/release-name": "shop"}}, "meta.helm.sh/release-name"),
    ],
)
def test_who_owns_an_object_is_known_by_its_marks(metadata: dict[str, Any], mark: str | None) -> None:
    given = task_body("a")
    given["metadata"] |= metadata

    assert resource(given).mark == mark


def test_our_own_annotations_are_kept_while_an_object_lives() -> None:
    given = task_body("a")
    given["metadata"]["annotations"] = {"parley.dev/run-now": "1", "other": "2"}

    assert resource(given).annotations == {"parley.dev/run-now": "1"}


def test_a_task_is_found_by_a_session_that_only_its_template_names() -> None:
    known = Projection().tasks
    task, newer = (resource(body("t", version=version, templateRef={"name": "greet"})) for version in (1, 2))
    known.see(task)

    known.bind(task, "sessionRef", "alice")
    known.see(newer)

    assert known.referring_to(NAMESPACE, "alice") == [newer]
    known.drop(newer)
    assert known.referring_to(NAMESPACE, "alice") == []
