"""Chat, events, export and import through the gateway's client."""

import io
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import yaml
from parley.api.events import EventView
from parley.api.stream import DeltaView
from parley.cli.answer_printer import AnswerPrinter
from parley.cli.failures import NoCluster
from parley.cli.main import end

from tests.unit.cli.cluster import FakeCluster
from tests.unit.cli.conftest import Talk
from tests.unit.client.scripted import Answer, event, frame, problem, streaming

SESSION = {
    "metadata": {"name": "alice", "namespace": "shop", "uid": "u1"},
    "spec": {"agentRef": {"name": "support"}},
    "status": {},
}
ACCEPTED = frame(
    "accepted", {"sequence": 3, "eventId": "00000000-0000-0000-0000-000000000003", "task": "m-1"}, 3
)


ASKS = {
    "waitID": "w1",
    "step": "say",
    "kind": "Approval",
    "question": "May it run?",
    "choices": ["approve", "reject"],
    "since": "2026-11-23T10:00:00Z",
}


def waits(**more: str) -> bytes:
    asks = {**ASKS, **more}
    return frame("task", {"name": "m-1", "phase": "WaitingForInput", "waiting": [asks]})


def delta(offset: int, text: str, attempt: int = 1) -> bytes:
    where = {"task": "m-1", "step": "say", "attempt": attempt, "round": 0}
    return frame("delta", {**where, "offset": offset, "text": text})


def done(phase: str = "Succeeded", **more: str) -> bytes:
    return frame("done", {"task": "m-1", "phase": phase, **more})


def found() -> httpx2.Response:
    return httpx2.Response(200, json=SESSION)


def test_an_answer_is_printed_once_though_it_comes_twice(talk: Talk) -> None:
    turn = streaming(
        ACCEPTED, delta(0, "Your na"), delta(7, "me is"), event(4, "Your name is Alice."), done()
    )

    said = talk("chat", "alice", "-m", "What is my name?", answers=[found(), turn])

    assert said == (0, "Your name is Alice.\n", "")


def test_a_failed_turn_is_an_exit_code_and_says_why(talk: Talk) -> None:
    turn = streaming(ACCEPTED, done("Failed", reason="ModelError", message="no such model"))

    said = talk("chat", "alice", "-m", "hello", answers=[found(), turn])

    assert said.code == 1
    assert "the turn failed: ModelError: no such model" in said.err
    assert "next:  parley tasks m-1 -n shop" in said.err
    cancelled = talk("chat", "alice", "-m", "x", answers=[found(), streaming(ACCEPTED, done("Cancelled"))])
    assert cancelled.code == 3


def test_who_has_no_cluster_is_sent_to_none(talk: Talk) -> None:
    def no_cluster(_settings: object) -> FakeCluster:
        raise NoCluster("there is no way to a cluster")

    talk.open_kube = no_cluster
    turn = streaming(ACCEPTED, done("Failed", reason="ModelError", message="no such model"))

    said = talk("chat", "alice", "-n", "shop", "-m", "hello", answers=[found(), turn])

    assert said.err == "the turn failed: ModelError: no such model\n"


def test_a_session_that_is_not_there_begins_with_the_agent_that_is_named(talk: Talk) -> None:
    turn = streaming(ACCEPTED, event(4, "hi"), done())

    lost = talk("chat", "bob", "-m", "x", answers=[problem(404)])
    begun = talk("chat", "bob", "-m", "x", "--agent", "support", answers=[problem(404), found(), turn])

    assert lost.code == 1
    assert "parley chat bob --agent NAME" in lost.err
    assert (begun.code, begun.out) == (0, "hi\n")
    made = json.loads(talk.gateways[1].requests[1].content)
    assert made == {"name": "bob", "spec": {"agentRef": {"name": "support"}}}


def test_tools_and_questions_are_told_beside_the_answer(talk: Talk) -> None:
    call = event(4, type="toolCall", role=None, content={"tool": "refund", "arguments": {"order": 7}})
    asks = waits(tool="refund", arguments='{"order": 7}')
    turn = streaming(ACCEPTED, call, asks, asks, event(5, "Done."), done())

    said = talk("chat", "alice", "-m", "refund it", answers=[found(), turn])

    assert said.out == "Done.\n"
    assert '· calls refund({"order": 7})' in said.err
    assert said.err.count("? May it run?") == 1
    assert "parley approve m-1 -n shop --question w1" in said.err


def test_what_a_model_says_does_not_steer_the_terminal(talk: Talk) -> None:
    turn = streaming(ACCEPTED, delta(0, "a\x1b[2J"), event(4, "a\x1b[2Jb"), done())

    assert "\x1b" not in talk("chat", "alice", "-m", "x", answers=[found(), turn]).out


def test_programs_get_how_the_turn_ended(talk: Talk) -> None:
    turn = streaming(ACCEPTED, delta(0, "hi"), event(4, "hi"), done(output="hi"))

    said = talk("chat", "alice", "-m", "x", "-o", "json", answers=[found(), turn])

    assert json.loads(said.out) == {"task": "m-1", "phase": "Succeeded", "output": "hi"}


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        ([(1, 0, "Hel"), (1, 3, "lo")], "Hello\n"),
        ([(1, 3, "lo")], "Hello\n"),
        ([(1, 0, "Hel"), (1, 5, "!")], "Hello\n"),
        ([(1, 0, "Hex"), (1, 0, "Hel")], "Hex\nHello\n"),
        ([(1, 0, "Bye"), (2, 0, "He")], "Bye\nHello\n"),
        ([(1, 0, "Bye")], "Bye\nHello\n"),
        ([], "Hello\n"),
    ],
    ids=["in order", "joined late", "a gap", "begun anew", "another attempt", "said otherwise", "no pieces"],
)
def test_whatever_pieces_come_the_whole_is_on_the_terminal(
    capsys: pytest.CaptureFixture[str], pieces: list[tuple[int, int, str]], shown: str
) -> None:
    printer = AnswerPrinter()
    for attempt, offset, text in pieces:
        printer.delta(DeltaView(task="t", step="s", attempt=attempt, round=0, offset=offset, text=text))
    whole = json.loads(event(1, "Hello").split(b"data: ")[1])
    printer.event(EventView.model_validate(whole))

    assert capsys.readouterr().out == shown


def test_a_conversation_outlives_ctrl_c_in_an_answer_but_not_sigterm(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(how: Callable[[], object]) -> httpx2.Response:
        def frames() -> Iterator[bytes]:
            yield ACCEPTED
            how()

        return httpx2.Response(200, headers={"Content-Type": "text/event-stream"}, content=frames())

    def ctrl_c() -> None:
        raise KeyboardInterrupt

    lines = iter(["hello", "again", "never said"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _prompt: next(lines))
    sigterm = interrupted(lambda: end(signal.SIGTERM, None))

    with pytest.raises(SystemExit) as raised:
        talk("chat", "alice", answers=[found(), interrupted(ctrl_c), sigterm])

    assert raised.value.code == 143
    assert next(lines) == "never said"


@pytest.mark.parametrize(
    ("key", "code", "unsaid"),
    [(KeyboardInterrupt, 0, []), (EOFError, 0, ["again"])],
    ids=["Ctrl-C leaves the answer", "Ctrl-D ends the conversation"],
)
def test_a_person_may_leave_while_an_approval_is_asked(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, key: type[BaseException], code: int, unsaid: list[str]
) -> None:
    lines = iter(["hello", "again"])

    def typed(prompt: str) -> str:
        if "answer" in prompt:
            raise key
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", typed)
    monkeypatch.setattr("click.termui.visible_prompt_func", typed)
    turns = [streaming(ACCEPTED, waits(), done()), streaming(ACCEPTED, event(4, "Yes?"), done())]

    said = talk("chat", "alice", answers=[found(), *turns])

    assert said.code == code
    assert "parley approve m-1 -n shop --question w1" in said.err, "how to answer later"
    assert list(lines) == unsaid
    assert ("Yes?" in said.out) == (not unsaid)


def test_a_conversation_goes_on_after_what_cannot_be_said(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["hello", "x" * 40_000]

    def typed(_prompt: str) -> str:
        if not lines:
            raise EOFError
        return lines.pop()

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", typed)

    said = talk("chat", "alice", answers=[found(), streaming(ACCEPTED, event(4, "Yes?"), done())])

    assert (said.code, said.out) == (0, "Yes?\n\n")
    assert "40,000 characters" in said.err
    assert len(talk.gateways[0].requests) == 2


def page(*sequences: int, **more: object) -> httpx2.Response:
    items = [json.loads(event(one, f"said {one}").split(b"data: ")[1]) for one in sequences]
    return httpx2.Response(200, json={"items": items, "lastSequence": 9, **more})


def test_events_are_the_last_ones_and_then_those_that_come(talk: Talk) -> None:
    stream = streaming(
        frame("hello", {"lastSequence": 9}, 9), event(10, "more"), frame("bye", {"reason": "SessionGone"})
    )

    said = talk("events", "alice", "--tail", "2", "--follow", answers=[page(1), page(8, 9), stream])

    assert [line.split("assistant: ")[1] for line in said.out.splitlines()] == ["said 8", "said 9", "more"]
    requests = talk.gateways[0].requests
    assert dict(requests[1].url.params) == {"before": "10", "limit": "2"}
    assert requests[2].headers["Last-Event-ID"] == "9"


@pytest.mark.parametrize(
    ("output", "read"),
    [
        ("json", lambda text: [json.loads(line) for line in text.splitlines()]),
        ("yaml", lambda text: list(yaml.safe_load_all(text))),
    ],
)
def test_a_program_that_follows_gets_event_by_event(
    talk: Talk, output: str, read: Callable[[str], list[dict[str, object]]]
) -> None:
    stream = streaming(
        frame("hello", {"lastSequence": 9}, 9), event(10, "a: b"), frame("bye", {"reason": "SessionGone"})
    )

    said = talk("events", "alice", "--tail", "1", "-f", "-o", output, answers=[page(1), page(9), stream])

    assert [(one["sequence"], one["content"]) for one in read(said.out)] == [(9, "said 9"), (10, "a: b")]


def test_events_after_one_are_all_of_them(talk: Talk) -> None:
    said = talk("events", "alice", "--after", "6", "-o", "json", answers=[page(7, 8, nextAfter=8), page(9)])

    assert [one["sequence"] for one in json.loads(said.out)["items"]] == [7, 8, 9]


def test_a_page_of_events_is_printed_before_the_next_is_asked_for(talk: Talk) -> None:
    for output, shown in (("table", 2), ("json", 0)):
        said = talk(
            "events", "alice", "--after", "6", "-o", output, answers=[page(7, 8, nextAfter=8), problem(403)]
        )

        assert said.code == 1
        assert len(said.out.splitlines()) == shown

    gone = streaming(frame("bye", {"reason": "SessionGone"}))
    answers: list[Answer] = [page(7, 8, nextAfter=8), page(9), gone]
    said = talk("events", "alice", "--after", "6", "--follow", "-o", "json", answers=answers)
    assert [json.loads(line)["sequence"] for line in said.out.splitlines()] == [7, 8, 9]
    assert talk.gateways[-1].requests[2].headers["Last-Event-ID"] == "9"


def test_an_export_is_whole_or_leaves_no_file(talk: Talk, tmp_path: Path) -> None:
    whole = b'{"format":"parley.dev/session"}\n{"sequence":1}\n{"end":true,"events":1}\n'
    target = tmp_path / "alice.jsonl"

    broken = talk("export", "alice", "-f", str(target), answers=[streaming(whole[:40])])
    assert broken.code == 1
    assert list(tmp_path.iterdir()) == []

    said = talk("export", "alice", "-f", str(target), answers=[streaming(whole)])
    assert (said.code, said.err) == (0, f"1 events of alice in {target}\n")
    assert target.read_bytes() == whole

    result = {"imported": 1, "alreadyThere": 0, "lastSequence": 1}
    said = talk("import", "bob", str(target), answers=[httpx2.Response(200, json=result)])
    assert said.out == "1 events imported into bob; it has 1 now\n"
    assert talk.gateways[2].requests[0].content == whole


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (problem(401), "log in again, or give --token"),
        (problem(403, "you may not create sessions/messages"), "you may not create sessions/messages"),
        (problem(404, "no Session alice"), "what you may not see is not found either"),
        (problem(400, "no such page", field="pageToken"), "error: pageToken: Refused: no such page"),
        (problem(409, "the Session is over. Make another."), "look at what is there now"),
        (problem(413, "Send less."), "send less at once"),
        (problem(415, "send application/json"), "parley version"),
        (problem(422, "too short", field="body.content"), "error: body.content: Refused: too short"),
        (problem(422, "too short"), "mend what it names"),
        (problem(500, "KeyError", {"X-Request-ID": "r-7"}), "knows it as request r-7"),
        (httpx2.Response(502, text="no upstream"), "parley doctor"),
        (httpx2.Response(200, text="<html>"), "parley doctor"),
    ],
)
def test_a_refusal_says_what_to_do(talk: Talk, answer: httpx2.Response, says: str) -> None:
    said = talk("events", "alice", answers=[answer])

    assert said.code == 1
    first, second = said.err.splitlines()
    assert first.startswith("error: ")
    assert second.startswith("next:  ")
    assert says in said.err


@pytest.mark.parametrize(
    ("message", "says"),
    [("", "the message (-m) is empty"), ("x" * 40_000, "40,000 characters, and a message may have 32,768")],
)
def test_what_cannot_be_said_begins_nothing(talk: Talk, message: str, says: str) -> None:
    said = talk("chat", "bob", "--agent", "support", "-m", message, answers=[problem(404)])

    assert said.code == 1
    assert says in said.err
    assert "next:  " in said.err
    assert "fault" not in said.err
    assert talk.gateways[0].requests == [], "no Session is begun for it"


@pytest.mark.parametrize(
    ("given", "says"),
    [(b" \n", "stdin is empty"), (b"\xff\xfe", "no text in UTF-8"), (b"x" * 40_000, "40,000 characters")],
)
def test_what_comes_by_a_pipe_is_looked_at_too(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, given: bytes, says: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given), "utf-8"))

    said = talk("chat", "alice", answers=[found()])

    assert said.code == 1
    assert says in said.err
    assert "next:  " in said.err
    assert "fault" not in said.err


def test_a_name_that_is_none_is_told_by_its_field(talk: Talk) -> None:
    said = talk("events", "..", answers=[found()])

    assert said == (
        1,
        "",
        "error: name: it is '..': give a name\nnext:  nothing was sent: mend it and try again\n",
    )
