"""Durations, cut texts, instants, and what the models make of a manifest."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parley.resources.common import Condition, format_duration, parse_duration, shorten
from parley.resources.task import MESSAGE_STEP, Step, TaskSpec, TaskStatus
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(minutes=90)),
        ("250ms", timedelta(milliseconds=250)),
        ("1m1ms", timedelta(minutes=1, milliseconds=1)),
        ("720h", timedelta(days=30)),
    ],
)
def test_a_duration_is_read_as_go_reads_it(text: str, length: timedelta) -> None:
    assert parse_duration(text) == length


@pytest.mark.parametrize(
    "text", ["", "5", "1d", "-1s", "1.5h", "0s", "0h0m", "1 h", "1h\n", "٣s", "999999h", "s"]
)
def test_what_is_no_duration_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|zero"):
        parse_duration(text)


@settings(deadline=None)
@given(st.integers(min_value=1, max_value=359_999_999_999))
def test_a_written_duration_reads_as_itself(milliseconds: int) -> None:
    length = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(length)) == length


@settings(deadline=None)
@given(st.text(), st.integers(min_value=3, max_value=64))
def test_a_cut_text_fits_its_bytes_and_begins_as_the_whole(text: str, limit: int) -> None:
    cut = shorten(text, limit)
    assert len(cut.encode()) <= limit
    assert cut == text or (cut.endswith("…") and text.startswith(cut.removesuffix("…")))


def test_half_a_character_does_not_reach_the_status() -> None:
    assert shorten("a\ud800b", 256) == "a?b"


def test_instants_are_written_as_kubernetes_writes_them() -> None:
    # Given an instant in another zone, with microseconds
    instant = datetime(2026, 1, 2, 4, 4, 5, 999, tzinfo=timezone(timedelta(hours=1)))
    condition = Condition(
        type="Ready", status="True", reason="Ready", message="", last_transition_time=instant
    )
    # Then it is written in UTC and whole seconds, and read back so
    written = condition.to_json()
    assert written["lastTransitionTime"] == "2026-01-02T03:04:05Z"
    assert Condition.model_validate(written).last_transition_time == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_message_is_one_prompt_step_with_that_very_text() -> None:
    spec = TaskSpec.model_validate({"sessionRef": {"name": "alice"}, "message": "{{ not a template }}"})
    (step,) = spec.effective_steps()
    assert (step.name, step.prompt and step.prompt.text) == (MESSAGE_STEP, "{{ not a template }}")


def test_a_spec_refuses_what_it_does_not_know_and_a_status_ignores_it() -> None:
    with pytest.raises(ValidationError, match="mesage"):
        TaskSpec.model_validate({"mesage": "hi"})
    status = TaskStatus.model_validate({"observedGeneration": 3, "fromTheFuture": True})
    assert status.observed_generation == 3


def test_a_spec_survives_the_way_through_json() -> None:
    manifest = {
        "agentRef": {"name": "support"},
        "inputs": {"order": "12345", "deep": {"list": [1, None, {"x": 1.5}]}},
        "steps": [
            {
                "name": "score",
                "container": {
                    "image": "ghcr.io/acme/score:1",
                    "command": ["score"],
                    "args": ["{{ inputs.order }}"],
                    "env": [
                        {"name": "A", "value": "b"},
                        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                    ],
                    "resources": {"requests": {"cpu": 1}, "limits": {"memory": "256Mi"}},
                },
                "timeout": "5m",
            },
            {"name": "ask", "prompt": {"messages": [{"role": "user", "content": "?"}], "history": "None"}},
        ],
        "output": {"paid": "{{ steps.score.output.amount }}"},
        "desiredState": "Suspended",
    }
    spec = TaskSpec.model_validate(manifest)
    assert TaskSpec.model_validate(spec.to_json()) == spec
    assert spec.to_json()["inputs"] == manifest["inputs"]
    assert [step.timeout_or_default() for step in spec.effective_steps()] == [
        timedelta(minutes=5),
        timedelta(hours=1),
    ]


def test_a_step_without_a_timeout_has_an_hour() -> None:
    assert Step.model_validate({"name": "a"}).timeout_or_default() == timedelta(hours=1)
