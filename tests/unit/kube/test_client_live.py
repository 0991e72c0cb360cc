"""The live client against a small HTTP server that answers as an API server does."""

import pytest
from aiohttp import web
from parley.kube.client import Page
from parley.kube.client_live import LiveKube
from parley.kube.errors import (
    KubeUnavailable,
)
from parley.kube.kinds import CONFIG_MAP, EVENT, JOB, NAMESPACE, POD, REPLY, TASK

from tests.unit.kube.api_over_http import ApiServer, kube, server

__all__ = ["kube", "server"]


async def test_get_names_the_object_and_carries_the_token(server: ApiServer, kube: LiveKube) -> None:
    server.answer({"kind": "Task", "metadata": {"name": "refund"}})
    assert await kube.get(TASK, "shop", "refund") == {"kind": "Task", "metadata": {"name": "refund"}}
    assert server.asked == [("GET", "/apis/parley.dev/v1alpha1/namespaces/shop/tasks/refund", {}, None)]
    assert server.authorization == ["Bearer secret"]


async def test_get_of_what_is_not_there_is_none(server: ApiServer, kube: LiveKube) -> None:
    server.refuse(404, "NotFound")
    assert await kube.get(NAMESPACE, None, "kube-system") is None


async def test_list_reads_every_chunk(server: ApiServer, kube: LiveKube) -> None:
    server.answer(
        {"metadata": {"continue": "next", "resourceVersion": "7"}, "items": [{"metadata": {"name": "a"}}]}
    )
    server.answer({"metadata": {"resourceVersion": "7"}, "items": [{"metadata": {"name": "b"}}]})
    items, resource_version = await kube.list(JOB, labels={"parley.dev/task": "refund", "app": "parley"})
    assert [item["metadata"]["name"] for item in items] == ["a", "b"]
    assert resource_version == "7"
    selector = {"limit": "500", "labelSelector": "parley.dev/task=refund,app=parley"}
    assert [query for _, _, query, _ in server.asked] == [selector, {**selector, "continue": "next"}]


async def test_list_selects_by_fields(server: ApiServer, kube: LiveKube) -> None:
    server.answer({"metadata": {"resourceVersion": "7"}, "items": []})
    await kube.list(EVENT, namespace="shop", fields={"reason": "FailedCreate", "regarding.kind": "Job"})
    assert server.asked == [
        (
            "GET",
            "/apis/events.k8s.io/v1/namespaces/shop/events",
            {"limit": "500", "fieldSelector": "reason=FailedCreate,regarding.kind=Job"},
            None,
        )
    ]


async def test_list_starts_over_when_its_snapshot_expired(server: ApiServer, kube: LiveKube) -> None:
    server.answer({"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "a"}}]})
    server.refuse(410, "Expired")
    server.answer({"metadata": {"resourceVersion": "9"}, "items": [{"metadata": {"name": "b"}}]})
    items, resource_version = await kube.list(POD, namespace="shop")
    assert ([item["metadata"]["name"] for item in items], resource_version) == (["b"], "9")


async def test_pages_say_where_a_list_begins(server: ApiServer, kube: LiveKube) -> None:
    server.answer({"metadata": {"continue": "next", "resourceVersion": "7"}, "items": [{"metadata": {}}]})
    server.refuse(410, "Expired")
    server.answer({"metadata": {"continue": "more", "resourceVersion": "9"}, "items": []})
    server.answer({"metadata": {"resourceVersion": "9"}, "items": None})
    pages = [page async for page in kube.pages(POD, labels={"app": "parley"})]
    assert pages == [Page([{"metadata": {}}], "7", True), Page([], "9", True), Page([], "9", False)]
    asked = [query.get("continue") for _, _, query, _ in server.asked]
    assert asked == [None, "next", None, "more"]


async def test_a_list_that_goes_on_expiring_is_tried_later(server: ApiServer, kube: LiveKube) -> None:
    for _ in range(3):
        server.refuse(410, "Expired")
    with pytest.raises(KubeUnavailable, match="list of pods expired 3 times"):
        await kube.list(POD)


async def test_create_adds_the_type_and_is_strict(server: ApiServer, kube: LiveKube) -> None:
    server.answer({"metadata": {"uid": "1"}}, 201)
    await kube.create(JOB, "shop", {"metadata": {"name": "j"}})
    assert server.asked == [
        (
            "POST",
            "/apis/batch/v1/namespaces/shop/jobs",
            {"fieldManager": "parley-operator", "fieldValidation": "Strict"},
            {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}},
        )
    ]


async def test_status_is_applied_with_the_version_it_was_computed_from(
    server: ApiServer, kube: LiveKube
) -> None:
    server.answer({})
    await kube.apply_status(TASK, "shop", "refund", {"phase": "Running"}, resource_version="41")
    assert server.asked == [
        (
            "PATCH",
            "/apis/parley.dev/v1alpha1/namespaces/shop/tasks/refund/status",
            {"fieldManager": "parley-operator", "force": "true"},
            {
                "apiVersion": "parley.dev/v1alpha1",
                "kind": "Task",
                "metadata": {"name": "refund", "namespace": "shop", "resourceVersion": "41"},
                "status": {"phase": "Running"},
            },
        )
    ]
    assert server.content_types == ["application/apply-patch+yaml; charset=utf-8"]


async def test_replace_refuses_to_overwrite_blindly(server: ApiServer, kube: LiveKube) -> None:
    with pytest.raises(ValueError, match="resourceVersion"):
        await kube.replace(CONFIG_MAP, "parley", {"metadata": {"name": "parley-store"}})
    assert server.asked == []


async def test_delete_sends_the_uid_it_means(server: ApiServer, kube: LiveKube) -> None:
    server.answer({})
    server.refuse(404, "NotFound")
    assert await kube.delete(JOB, "shop", "j", uid="u-1", grace=0) is True
    assert await kube.delete(JOB, "shop", "j") is False
    assert server.asked[0][3] == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u-1"},
        "gracePeriodSeconds": 0,
    }


async def test_token_review_gives_the_pod(server: ApiServer, kube: LiveKube) -> None:
    user = {
        "username": "system:serviceaccount:shop:default",
        "extra": {
            "authentication.kubernetes.io/pod-name": ["p"],
            "authentication.kubernetes.io/pod-uid": ["p-1"],
        },
    }
    server.answer({"status": {"authenticated": True, "user": user, "audiences": ["parley"]}}, 201)
    identity = await kube.review_token("t", ["parley"])
    assert identity.authenticated
    assert (identity.namespace, identity.pod_name, identity.pod_uid) == ("shop", "p", "p-1")


@pytest.mark.parametrize(
    "status",
    [
        {"authenticated": False, "error": "expired"},
        {"authenticated": True, "user": {"username": "alice"}},
        {
            "authenticated": True,
            "user": {"username": "alice"},
            "audiences": ["https://kubernetes.default.svc"],
        },
        {},
    ],
)
async def test_a_token_not_proved_for_our_audience_is_refused(
    server: ApiServer, kube: LiveKube, status: dict[str, object]
) -> None:
    server.answer({"status": status}, 201)
    assert not (await kube.review_token("t", ["parley"])).authenticated


async def test_an_object_is_applied_with_the_version_it_was_read_at(
    server: ApiServer, kube: LiveKube
) -> None:
    """Without its uid the API server would make the object if it were gone."""
    server.answer({"metadata": {"name": "yes"}})
    owner = [{"kind": "Task", "name": "refund", "uid": "u-1"}]

    await kube.apply(
        REPLY, "shop", "yes", {"metadata": {"ownerReferences": owner}}, uid="u-2", resource_version="41"
    )

    assert server.asked == [
        (
            "PATCH",
            "/apis/parley.dev/v1alpha1/namespaces/shop/replies/yes",
            {"fieldManager": "parley-operator", "force": "true"},
            {
                "apiVersion": "parley.dev/v1alpha1",
                "kind": "Reply",
                "metadata": {
                    "name": "yes",
                    "namespace": "shop",
                    "uid": "u-2",
                    "resourceVersion": "41",
                    "ownerReferences": owner,
                },
            },
        )
    ]
    assert server.content_types == ["application/apply-patch+yaml; charset=utf-8"]


async def test_delete_sends_the_version_it_means(server: ApiServer, kube: LiveKube) -> None:
    server.answer({})
    await kube.delete(TASK, "shop", "refund", uid="u-1", resource_version="41")
    assert server.asked[0][3] == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u-1", "resourceVersion": "41"},
    }


async def test_of_a_log_the_end_is_kept(server: ApiServer, kube: LiveKube) -> None:
    server.answers.append(web.Response(text="a first line\nthe last line\n"))

    assert await kube.read_log("shop", "pod-1", "step", limit=14) == "the last line\n"

    assert server.asked == [
        (
            "GET",
            "/api/v1/namespaces/shop/pods/pod-1/log",
            {"container": "step", "tailLines": "16"},
            None,
        )
    ]


async def test_a_log_that_is_cut_within_a_character_is_text_all_the_same(
    server: ApiServer, kube: LiveKube
) -> None:
    server.answers.append(web.Response(body="€".encode()))
    assert await kube.read_log("shop", "pod-1", "step", limit=2) == "\ufffd\ufffd"


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "NotFound"), (400, "BadRequest")], ids=["the pod is gone", "it never ran"]
)
async def test_there_may_be_no_log(server: ApiServer, kube: LiveKube, status: int, reason: str) -> None:
    server.refuse(status, reason)
    assert await kube.read_log("shop", "pod-1", "step", limit=100) is None


async def test_a_kubelet_that_gives_no_log_is_unavailable(server: ApiServer, kube: LiveKube) -> None:
    server.refuse(500, "InternalError")
    with pytest.raises(KubeUnavailable):
        await kube.read_log("shop", "pod-1", "step", limit=100)
