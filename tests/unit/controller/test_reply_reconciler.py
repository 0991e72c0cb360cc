"""A Reply: which ones answer, what the others are told, and that what was said once stands.

The store is a script with one question; the schema is checked by the real evaluator.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
import pytest_asyncio
from parley.controller import reply_reconciler
from parley.controller.context import Context
from parley.controller.reply_reconciler import ReplyReconciler
from parley.controller.sights import Sights
from parley.kube.client import JsonObject
from parley.kube.errors import Conflict
from parley.kube.events import Transition
from parley.kube.kinds import REPLY, TASK, Kind
from parley.resources.reasons import Reason
from parley.store.records import ReplyVerdict, TaskRecord, WaitRecord
from parley.templates.evaluator import Evaluator

from tests.fake_kube import FakeKube
from tests.kstatus import kstatus
from tests.status_schema import status_problems
from tests.unit.controller.contexts import storeless, woken
from tests.unit.controller.objects import NAMESPACE, body, task_body
from tests.unit.controller.records import NOW, record

WAIT_ID = "5f0c9f4e-6f53-4a43-9a53-b7f1c1f0a001"
TASK_UID = "uid-of-refund"
CHOICES = {"question": "Refund?", "choices": ["approve", "reject"]}
SCHEMA = {
    "question": "How much?",
    "schema": {"type": "object", "properties": {"percent": {"type": "integer", "maximum": 30}}},
}
ANYTHING = {"question": "What?"}
YES = {"choice": "approve"}


class Story:
    """A Task ``refund`` that asks, and what happens to the Reply ``yes``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, evaluator: Evaluator) -> None:
        self.kube = FakeKube()
        self.evaluator = evaluator
        self.told: list[Transition] = []
        self.kube.on_change = self._watched
        self.question: dict[str, Any] | None = CHOICES
        self.answers: dict[str, ReplyVerdict] = {}
        self.asked: list[dict[str, Any]] = []
        monkeypatch.setattr(reply_reconciler, "load_task", self._load)
        monkeypatch.setattr(reply_reconciler, "answer_wait", self._answer)
        monkeypatch.setattr(reply_reconciler, "verdict_without_task", self._known)
        self.restart()

    def _watched(self, change: str, kind: Kind, seen: JsonObject) -> None:
        Sights(self.context).see(kind, seen, change == "DELETED")

    def restart(self) -> None:
        """Another operator leads."""
        self.context: Context = storeless(self.kube)
        self.context.evaluator = self.evaluator
        self.context.tell = self.told.append
        for (kind, _, _), seen in sorted(self.kube.objects.items(), key=str):
            Sights(self.context).see({"Task": TASK, "Reply": REPLY}[kind], seen, False)
        self.reconciler = ReplyReconciler(self.context)

    def make(self, kind: Kind, made: dict[str, Any]) -> None:
        self.kube.objects[kind.kind, NAMESPACE, made["metadata"]["name"]] = made
        self.kube._stored("ADDED", kind, made)

    def ask(self, question: dict[str, Any] | None = CHOICES) -> None:
        """The Task asks; None: it does no longer, or never did."""
        self.question = question
        self.make(TASK, task_body("refund"))

    async def reply(self, *, generation: int = 1, **fields: Any) -> dict[str, Any]:
        """Make the Reply; returns its status."""
        given = {"taskRef": {"name": "refund"}, "waitID": WAIT_ID, "by": "maria", **(fields or YES)}
        made = body("yes", **{key: value for key, value in given.items() if value is not ...})
        made["metadata"]["generation"] = generation
        self.make(REPLY, made)
        return await self.reconcile()

    async def reconcile(self) -> dict[str, Any]:
        await self.reconciler.reconcile(NAMESPACE, "yes")
        return self.body["status"]

    @property
    def body(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.kube.objects["Reply", NAMESPACE, "yes"])

    @property
    def verdict(self) -> tuple[str, str, str]:
        (found,) = (c for c in self.body["status"]["conditions"] if c["type"] == "Accepted")
        return found["status"], found["reason"], found["message"]

    # The store's part.

    async def _load(self, _: object, uid: str) -> TaskRecord:
        assert uid == TASK_UID
        waits: list[WaitRecord] = []
        if self.question is not None and not self.answers:
            waits.append(
                WaitRecord(
                    id=WAIT_ID,
                    step="confirm",
                    item=-1,
                    kind="Question",
                    body=self.question,
                    deadline=None,
                    state="Open",
                    created_at=NOW - timedelta(minutes=5),
                )
            )
        return record(uid=uid, waits=waits)

    async def _answer(self, _conn: Any, _fence: Any, *, reply_uid: str, **asked: Any) -> ReplyVerdict:
        self.asked.append(asked)
        if reply_uid not in self.answers:
            if self.answers:
                verdict = ReplyVerdict(False, Reason.ALREADY_ANSWERED, "bob replied approve")
            elif self.question is None:
                verdict = ReplyVerdict(False, Reason.NOT_WAITING, "no step of this task has asked that")
            else:
                verdict = ReplyVerdict(True, None, "")
            self.answers[reply_uid] = verdict
        return self.answers[reply_uid]

    async def _known(self, _conn: Any, _fence: Any, *, reply_uid: str, **_: Any) -> ReplyVerdict | None:
        return self.answers.get(reply_uid)


@pytest_asyncio.fixture
async def story(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Story]:
    evaluator = Evaluator()
    try:
        yield Story(monkeypatch, evaluator)
    finally:
        await evaluator.__aexit__(None, None, None)


async def test_a_reply_that_fits_answers_its_task(story: Story) -> None:
    story.ask()

    status = await story.reply(choice="approve", message="It came late.")

    assert story.verdict == ("True", "Accepted", "maria replied approve")
    assert story.asked == [
        {
            "task_uid": TASK_UID,
            "wait_id": WAIT_ID,
            "body": {"choice": "approve", "message": "It came late."},
            "by": "maria",
        }
    ]
    assert kstatus(story.body).status == "Current"
    assert not status_problems("replies", status)
    assert "Task refund" in await woken(story.context)
    (owner,) = story.body["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "parley.dev/v1alpha1", "kind": "Task", "name": "refund", "uid": TASK_UID}
    assert [(t.kind.kind, t.name, t.reason, t.note) for t in story.told] == [
        ("Reply", "yes", "Accepted", "maria replied approve to Task refund"),
        ("Task", "refund", "Accepted", "maria replied approve to step confirm (Reply yes)"),
    ]


async def test_what_was_said_once_is_not_said_again(story: Story) -> None:
    story.ask()
    await story.reply()
    before = len(story.kube.requests)

    await story.reconcile()
    story.restart()
    await story.reconcile()

    assert len(story.kube.requests) == before
    assert len(story.asked) == 1
    assert len(story.told) == 2


async def test_an_operator_that_ends_after_the_answer_is_made_up_for(story: Story) -> None:
    """The store has the answer, the status does not say so yet."""
    story.ask()
    story.kube.fail(Conflict(409, "Conflict", "changed"), verb="patch", kind="Reply")
    with pytest.raises(Conflict):
        await story.reply()
    await story.reconcile()
    first = story.verdict
    story.body["status"] = {"observedGeneration": -1}
    story.restart()

    await story.reconcile()

    assert story.verdict == first == ("True", "Accepted", "maria replied approve")
    assert len(story.answers) == 1


@pytest.mark.parametrize(
    ("question", "fields", "reason", "says"),
    [
        (
            CHOICES,
            {"choice": "maybe"},
            "UnknownChoice",
            "spec.choice: 'maybe' is no choice; choose one of approve, reject",
        ),
        (
            CHOICES,
            {"value": 7},
            "UnknownChoice",
            "spec.choice: the question asks for one of approve, reject",
        ),
        (
            SCHEMA,
            {"choice": "approve"},
            "SchemaMismatch",
            "spec.choice: the question has no choices: write the answer into spec.value",
        ),
        (
            ANYTHING,
            {"choice": "approve"},
            "SchemaMismatch",
            "spec.choice: the question has no choices: write the answer into spec.value",
        ),
        (
            SCHEMA,
            {"value": {"percent": 90}},
            "SchemaMismatch",
            "spec.value.percent: 90 is greater than the maximum of 30",
        ),
        (SCHEMA, {"value": None}, "SchemaMismatch", "spec.value: None is not of type 'object'"),
        (
            {"question": "?", "schema": {"enum": ["yes", "no"]}},
            {"value": True},
            "SchemaMismatch",
            (
                "spec.value: True is not one of ['yes', 'no'] (quote y, n, yes, no, on, off: YAML reads them as "
                "true and false)"
            ),
        ),
        (
            {"question": "?", "schema": {"pattern": "^(a+)+$"}},
            {"value": "a" * 50 + "b"},
            "SchemaMismatch",
            "spec.value: to check it against its schema takes more than 1 s of CPU time",
        ),
        (None, YES, "NotWaiting", "no step of this task has asked that"),
    ],
)
async def test_a_reply_that_does_not_fit_is_told_why(
    story: Story, question: dict[str, Any] | None, fields: dict[str, Any], reason: str, says: str
) -> None:
    story.ask(question)

    status = await story.reply(**fields)

    assert story.verdict == ("False", reason, says)
    assert kstatus(story.body).status == "Failed"
    assert not status_problems("replies", status)
    assert [(t.kind.kind, t.type, t.reason, t.note) for t in story.told] == [
        ("Reply", "Warning", reason, says)
    ]
    assert not any(verdict.accepted for verdict in story.answers.values())
    assert story.body["metadata"]["ownerReferences"], "it goes with its Task all the same"


@pytest.mark.parametrize(
    ("question", "value"),
    [(SCHEMA, {"percent": 10}), (ANYTHING, ["a", {"b": None}]), (ANYTHING, None), (ANYTHING, False)],
)
async def test_a_value_that_fits_is_taken_as_it_is(
    story: Story, question: dict[str, Any], value: Any
) -> None:
    story.ask(question)

    await story.reply(value=value)

    assert story.verdict == ("True", "Accepted", "maria replied with a value")
    assert story.asked[0]["body"] == {"value": value}


async def test_a_second_reply_hears_what_the_store_says(story: Story) -> None:
    story.ask()
    story.answers["another"] = ReplyVerdict(True, None, "")

    await story.reply()

    assert story.verdict == ("False", "AlreadyAnswered", "bob replied approve")


async def test_a_reply_may_come_before_its_task(story: Story) -> None:
    status = await story.reply()

    assert story.verdict == ("Unknown", "Pending", "Task refund does not exist in this namespace yet")
    assert kstatus(story.body).status == "InProgress"
    assert story.told == []
    assert not status_problems("replies", status)
    await woken(story.context)

    story.ask()

    assert "Reply yes" in await woken(story.context)
    await story.reconcile()
    assert story.verdict[0] == "True"


async def test_an_answer_stands_although_its_task_went_before_the_status_said_so(story: Story) -> None:
    story.ask()
    story.kube.fail(Conflict(409, "Conflict", "changed"), verb="patch", kind="Reply")
    with pytest.raises(Conflict):
        await story.reply()
    gone = story.kube.objects.pop(("Task", NAMESPACE, "refund"))
    story._watched("DELETED", TASK, gone)
    story.answers["uid-of-yes"] = ReplyVerdict(True, None, "")

    await story.reconcile()

    assert story.verdict == ("True", "Accepted", "maria replied approve")
    assert [t.kind.kind for t in story.told] == ["Reply"], "of a Task that is gone nothing can be told"


async def test_a_reply_without_an_author_is_refused(story: Story) -> None:
    story.ask()

    await story.reply(by=..., **YES)

    status, reason, message = story.verdict
    assert (status, reason) == ("False", "InvalidSpec")
    assert message.startswith("spec.by: ")
    assert "kubectl auth whoami" in message
    assert story.asked == []


async def test_a_reply_that_was_changed_is_refused(story: Story) -> None:
    story.ask()

    await story.reply(generation=2)

    assert story.verdict[:2] == ("False", "InvalidSpec")
    assert "was changed after it was made" in story.verdict[2]
    assert story.asked == []


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"choice": "approve", "value": 1}, "spec: a Reply has exactly one of choice and value"),
        ({"message": "hm"}, "spec: a Reply has exactly one of choice and value"),
        ({"choice": {"not": "text"}}, "spec.choice"),
        ({"value": {"yes": 1, "true": 2}}, "spec.value.true"),
    ],
)
async def test_a_reply_that_the_api_server_should_not_have_let_in(
    story: Story, fields: dict[str, Any], says: str
) -> None:
    story.ask()

    await story.reply(**fields)

    assert story.verdict[:2] == ("False", "InvalidSpec")
    assert story.verdict[2].startswith(says)
    assert story.asked == []


async def test_a_task_that_is_going_gets_no_answer(story: Story) -> None:
    going = task_body("refund")
    going["metadata"]["deletionTimestamp"] = datetime(2026, 11, 23, tzinfo=UTC).isoformat()
    story.make(TASK, going)

    await story.reply()

    assert story.verdict[:2] == ("Unknown", "Pending")
    assert story.asked == []


async def test_a_reply_that_is_gone_or_going_is_left_alone(story: Story) -> None:
    story.ask()
    await story.reconciler.reconcile(NAMESPACE, "yes")
    made = body("yes", taskRef={"name": "refund"}, waitID=WAIT_ID, by="maria", choice="approve")
    made["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    story.make(REPLY, made)

    await story.reconciler.reconcile(NAMESPACE, "yes")

    assert story.asked == []
    assert story.kube.requests == []
