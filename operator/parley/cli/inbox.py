"""What waits for a person: the questions of Tasks, and the Replies to them."""

import json
import shlex
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from parley.cli.app import App
from parley.cli.failures import CliError
from parley.cli.following import follow
from parley.cli.reading import condition, name_of, namespace_of, number, objects, text, texts
from parley.cli.text import instant
from parley.kube.client import JsonObject
from parley.kube.errors import Forbidden
from parley.kube.kinds import REPLY

ACCEPT_SECONDS = 60.0
"""How long the operator may take to decide about a Reply."""
_LOOK_SECONDS = 5
_READABLE = 40


@dataclass(frozen=True, slots=True)
class Question:
    """One question, as the Task's status shows it.

    Attributes:
        choices: to choose from; none: the answer is any value.
        call: the tool's name, where it is an approval.
        arguments: of that call, as JSON.
    """

    namespace: str
    task: str
    session: str
    id: str
    step: str
    question: str
    choices: tuple[str, ...]
    call: str
    arguments: str
    since: str
    deadline: str

    def to_json(self) -> JsonObject:
        """For programs."""
        body: dict[str, JsonValue] = {
            "namespace": self.namespace,
            "task": self.task,
            "session": self.session,
            "waitID": self.id,
            "step": self.step,
            "question": self.question,
            "choices": list(self.choices),
            "tool": self.call,
            "arguments": self.arguments,
            "since": self.since,
            "deadline": self.deadline,
        }
        return {key: value for key, value in body.items() if value not in ("", [])}


def questions_of(task: JsonObject) -> list[Question]:
    """What a Task asks, oldest first; at most the eight that its status shows."""
    return [
        Question(
            namespace=namespace_of(task),
            task=name_of(task),
            session=text(task, "spec", "sessionRef", "name"),
            id=text(entry, "id"),
            step=text(entry, "step"),
            question=text(entry, "question"),
            choices=tuple(texts(entry, "choices")),
            call=text(entry, "call"),
            arguments=text(entry, "arguments"),
            since=text(entry, "since"),
            deadline=text(entry, "deadline"),
        )
        for entry in objects(task, "status", "waiting")
    ]


def unseen(task: JsonObject) -> int:
    """How many questions a Task asks beside those that its status shows."""
    total = number(task, "status", "waitingTotal")
    return max(0, total - len(objects(task, "status", "waiting")))


def how_to_answer(question: Question) -> str:
    """The command that answers a question."""
    where = f"{question.task} -n {question.namespace}"
    chosen = set(question.choices)
    if {"approve", "reject"} <= chosen:
        return f"parley approve {where}    (or: parley reject {where})"
    if question.choices:
        return f"parley reply {where} --choice {shlex.quote(question.choices[0])}"
    return f"parley reply {where} --value JSON"


def choose(questions: Sequence[Question], task: str, wanted: str | None, choice: str | None) -> Question:
    """The question that is meant: the one with that id or of that step, or the only one.

    Raises:
        CliError: it is not clear which, or there is none.
    """
    if not questions:
        raise CliError(f"Task {task} asks nothing now", "see what waits: parley waiting")
    fitting = [one for one in questions if wanted is None or wanted in {one.id, one.step}]
    if not fitting:
        raise CliError(
            f"Task {task} asks no question {wanted!r}",
            "its questions: " + "; ".join(f"{one.id} ({one.step})" for one in questions),
        )
    if len(fitting) > 1:
        listed = "; ".join(f"--question {one.id}: {one.question}" for one in fitting)
        raise CliError(f"Task {task} asks {len(fitting)} things: say which", listed)
    question = fitting[0]
    if choice is not None and question.choices and choice not in question.choices:
        raise CliError(
            f"{choice!r} is no answer to {question.question!r}",
            f"parley reply {task} --choice {'|'.join(question.choices)}",
        )
    if choice is not None and not question.choices:
        raise CliError(
            f"{question.question!r} asks for a value, not a choice",
            f"parley reply {task} --value JSON",
        )
    if choice is None and question.choices:
        raise CliError(
            f"{question.question!r} has choices: {', '.join(question.choices)}",
            f"parley reply {task} --choice {question.choices[0]}",
        )
    return question


def reply(
    app: App, question: Question, *, choice: str | None, value: JsonValue, message: str | None
) -> JsonObject:
    """Make a Reply and wait for what the operator says of it; returns it as it is then.

    Raises:
        CliError: it was refused, or nobody decided within a minute.
    """
    spec: dict[str, JsonValue] = {"taskRef": {"name": question.task}, "waitID": question.id}
    spec.update({"choice": choice} if choice is not None else {"value": value})
    if message:
        spec["message"] = message
    name = f"{question.task[:_READABLE].rstrip('-.')}-{uuid.uuid4().hex[:8]}"
    try:
        made = app.kube.create(REPLY, question.namespace, {"metadata": {"name": name}, "spec": spec})
    except Forbidden as error:
        raise CliError(
            f"you may not reply in namespace {question.namespace}: {error.message}",
            "the role parley-approver allows it: kubectl create rolebinding approvers -n "
            f"{question.namespace} --clusterrole=parley-approver --user=YOU",
        ) from error
    return _decided(app, question, name_of(made))


def _decided(app: App, question: Question, name: str) -> JsonObject:
    end = time.monotonic() + ACCEPT_SECONDS
    for made in follow(app.kube, REPLY, question.namespace, name, every=_LOOK_SECONDS):
        if made is None:
            raise CliError(f"Reply {name} was deleted before the operator saw it", "reply again")
        accepted = condition(made, "Accepted")
        if text(accepted, "status") == "True":
            return made
        if text(accepted, "status") == "False":
            raise refused(question, text(accepted, "reason"), text(accepted, "message"))
        if time.monotonic() > end:
            break
    raise undecided(question, name)


def refused(question: Question, reason: str, message: str) -> CliError:
    """The error for a Reply that does not count."""
    return CliError(
        f"the reply was refused: {reason}: {message}",
        f"see what it asks now: parley waiting -n {question.namespace}",
    )


def undecided(question: Question, name: str) -> CliError:
    """The error for a Reply that the operator has not looked at in time."""
    return CliError(
        f"Reply {name} is made, and nobody has decided about it yet",
        f"see whether the operator runs: parley doctor; then kubectl get rp {name} -n {question.namespace}",
    )


def read_value(given: str) -> JsonValue:
    """Read ``--value``: JSON; a single word that is none is taken for a text."""
    try:
        return json.loads(given)
    except ValueError:
        if given[:1] in {"{", "[", '"'}:
            raise CliError(
                f"--value {given}: this is no JSON", "quote it for the shell: --value '{\"percent\": 5}'"
            ) from None
        return given


def oldest_first(questions: Sequence[Question]) -> list[Question]:
    """Questions in the order they were asked."""
    return sorted(questions, key=lambda one: (instant(one.since) is None, one.since, one.task, one.id))
