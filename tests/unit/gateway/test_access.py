"""Who calls and what they may do: how long answers are remembered, and how many questions it takes."""

import asyncio
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
from parley.gateway.access.caller import REVIEWS_AT_ONCE, Callers
from parley.gateway.access.permission import Permissions
from parley.gateway.access.rates import Rates, StreamRoom
from parley.gateway.access.refusal import Refusal
from parley.gateway.access.sessions import Sessions, read_known
from parley.gateway.identity import Remembered
from parley.kube.client import JsonObject, TokenIdentity
from parley.kube.kinds import SESSION, Kind
from parley.kube.people import AccessQuestion, Person, is_allowed
from parley.resources.session import SessionSpec

from tests.fake_kube import FakeKube


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class FarKube(FakeKube):
    """Answers take a while: others ask meanwhile."""

    async def review_token(self, token: str, audiences: Sequence[str]) -> TokenIdentity:
        await asyncio.sleep(0)
        return await super().review_token(token, audiences)

    async def review_access(self, question: AccessQuestion) -> bool:
        await asyncio.sleep(0)
        return await super().review_access(question)

    async def get(self, kind: Kind, namespace: str | None, name: str) -> JsonObject | None:
        await asyncio.sleep(0)
        return await super().get(kind, namespace, name)


@pytest.fixture
def kube() -> FakeKube:
    made = FarKube()
    made.identities["anns"] = TokenIdentity(
        authenticated=True, username="ann", uid="1", groups=("a",), audiences=("https://kubernetes",)
    )
    return made


def asked(kube: FakeKube, kind: str) -> int:
    return [request.kind for request in kube.requests].count(kind)


async def test_a_token_is_reviewed_once_in_ten_seconds(kube: FakeKube, clock: Clock) -> None:
    callers = Callers(kube, clock=clock)
    people = await asyncio.gather(*(callers.identify("Bearer anns") for _ in range(50)))
    assert {one.username for one in people} == {"ann"}
    assert asked(kube, "TokenReview") == 1

    clock.now += 9.9
    await callers.identify("bearer  anns")
    assert asked(kube, "TokenReview") == 1
    # Revoked: known for ten seconds and no longer.
    kube.identities.clear()
    clock.now += 0.2
    with pytest.raises(Refusal):
        await callers.identify("Bearer anns")


async def test_tokens_that_nobody_knows_are_reviewed_a_few_at_a_time(kube: FakeKube, clock: Clock) -> None:
    at_once = most = 0
    review = kube.review_token

    async def counted(token: str, audiences: Sequence[str]) -> TokenIdentity:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            return await review(token, audiences)
        finally:
            at_once -= 1

    kube.review_token = counted  # type: ignore[method-assign]
    callers = Callers(kube, clock=clock)

    refused = await asyncio.gather(
        *(callers.identify(f"Bearer made-up-{n}") for n in range(30)), return_exceptions=True
    )

    assert all(isinstance(each, Refusal) for each in refused)
    assert (asked(kube, "TokenReview"), most) == (30, REVIEWS_AT_ONCE)


async def test_a_refused_token_is_asked_about_again_soon(kube: FakeKube, clock: Clock) -> None:
    callers = Callers(kube, clock=clock)
    for _ in range(3):
        with pytest.raises(Refusal) as refused:
            await callers.identify("Bearer bens")
        assert refused.value.problem.status == 401
    assert asked(kube, "TokenReview") == 1
    kube.identities["bens"] = kube.identities["anns"]
    clock.now += 2.1
    assert (await callers.identify("Bearer bens")).username == "ann"


async def test_rights_are_remembered_apart_by_who_asks_and_for_what(kube: FakeKube, clock: Clock) -> None:
    kube.allowed = lambda question: question.verb == "get"
    permissions = Permissions(kube, clock=clock)
    ann, same_name = Person("ann", groups=("a",)), Person("ann", groups=("b",))

    async def check(person: Person = ann, verb: str = "get", **where: Any) -> bool:
        return await permissions.check(person, verb, "sessions", where.pop("namespace", "shop"), **where)

    assert await asyncio.gather(*(check() for _ in range(20))) == [True] * 20
    assert len(kube.questions) == 1
    for different in (
        {"person": same_name},
        {"namespace": "other"},
        {"name": "first"},
        {"subresource": "own"},
        {"verb": "list"},
    ):
        await check(**different)  # type: ignore[arg-type]
    assert len(kube.questions) == 6

    # A right that was given is seen within two seconds, one that was taken away after ten.
    kube.allowed = lambda question: question.verb == "list"
    clock.now += 2.1
    assert (await check(), await check(verb="list")) == (True, True)
    clock.now += 8
    assert not await check()


async def test_a_session_is_read_once_in_two_seconds(kube: FakeKube, clock: Clock) -> None:
    body: Any = {"metadata": {"name": "first"}, "spec": {"agentRef": {"name": "a"}, "user": {"id": "alice"}}}
    await kube.create(SESSION, "shop", body)
    sessions = Sessions(kube, clock=clock)
    before = asked(kube, "Session")
    found = await asyncio.gather(*(sessions.read("shop", "first") for _ in range(20)))
    assert {one.user_ids for one in found if one} == {frozenset({"alice"})}
    assert asked(kube, "Session") == before + 1

    sessions.forget("shop", "first")
    await sessions.read("shop", "first")
    clock.now += 2.1
    await sessions.read("shop", "first")
    assert asked(kube, "Session") == before + 3
    assert await sessions.read("shop", "absent") is None


def test_a_newer_versions_fields_are_left_out() -> None:
    spec = read_known(
        SessionSpec,
        {"agentRef": {"name": "a", "kind": "Agent"}, "recall": {"last": 3}, "users": [{"id": "x", "b": 1}]},
    )
    assert isinstance(spec, SessionSpec)
    assert (spec.agent_names, [one.id for one in spec.people]) == (["a"], ["x"])
    assert isinstance(read_known(SessionSpec, {"agentRef": 1}), list)


def test_a_caller_has_so_many_requests_at_once_and_so_many_a_second(clock: Clock) -> None:
    rates = Rates(2, 3, clock=clock)
    for _ in range(3):
        rates.take("ann")
    with pytest.raises(Refusal) as refused:
        rates.take("ann")
    assert (refused.value.problem.status, refused.value.headers) == (429, {"Retry-After": "1"})
    rates.take("ben")
    clock.now += 1
    rates.take("ann")
    rates.take("ann")
    with pytest.raises(Refusal):
        rates.take("ann")
    clock.now += 3600
    for _ in range(3):
        rates.take("ann")
    with pytest.raises(Refusal):
        rates.take("ann")


def test_no_rate_is_no_limit(clock: Clock) -> None:
    rates = Rates(0, 1, clock=clock)
    for _ in range(1000):
        rates.take("ann")


def test_a_caller_has_so_many_streams_for_each_of_its_users() -> None:
    room = StreamRoom(2)
    with room.hold("ann", None), room.hold("ann", None), room.hold("ann", "alice"), room.hold("ben", None):
        with pytest.raises(Refusal) as refused, room.hold("ann", None):
            pass
        assert refused.value.problem.status == 429
    with room.hold("ann", None), room.hold("ann", None):
        pass


def test_a_denial_weighs_more_than_a_right() -> None:
    assert is_allowed({"status": {"allowed": True}})
    assert not is_allowed({"status": {"allowed": True, "denied": True}})
    assert not is_allowed({"status": {"allowed": "yes"}})
    assert not is_allowed({})


def test_a_question_names_what_is_asked_and_who_asks() -> None:
    person = Person("ann", "1", ("a", "b"), {"scopes": ("x",)})
    question = AccessQuestion(person, "get", "parley.dev", "sessions", "shop", "events", "first")
    assert question.spec() == {
        "user": "ann",
        "uid": "1",
        "groups": ["a", "b"],
        "extra": {"scopes": ["x"]},
        "resourceAttributes": {
            "verb": "get",
            "group": "parley.dev",
            "resource": "sessions",
            "subresource": "events",
            "namespace": "shop",
            "name": "first",
        },
    }


@pytest.mark.parametrize(
    ("person", "headers"),
    [
        (Person("ann", "1", ("devs", "system:authenticated")), [("User", "ann"), ("Group", "devs")]),
        (Person("root", groups=("system:masters", "ops")), [("User", "root"), ("Group", "ops")]),
        (
            Person("system:serviceaccount:shop:bot", groups=("system:serviceaccounts",), extra={"a": ("b",)}),
            [("User", "system:serviceaccount:shop:bot")],
        ),
    ],
)
def test_somebody_is_impersonated_by_what_rbac_looks_at(
    person: Person, headers: list[tuple[str, str]]
) -> None:
    assert list(person.impersonation()) == [(f"Impersonate-{name}", value) for name, value in headers]


def test_answers_that_are_no_longer_good_are_not_kept(clock: Clock) -> None:
    kept = Clock()
    old: Remembered[str, Clock] = Remembered(2.0, clock)
    old.put("a", kept)
    gone = weakref.ref(kept)
    del kept
    clock.now += 2
    old.put("b", clock)
    assert gone() is None
    assert (old.get("a"), old.get("b")) == (None, clock)
