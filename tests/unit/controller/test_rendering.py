"""What decides a task's flow: conditions, items, questions, instants, values, and how each may be wrong."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from parley.controller.rendering import (
    MAX_CONTEXT_BYTES,
    MAX_QUESTION_CHARACTERS,
    Question,
    render_fail,
    render_items,
    render_on_timeout,
    render_output,
    render_return,
    render_set,
    render_sleep,
    render_wait,
    render_when,
)
from parley.templates.errors import TemplateError
from parley.templates.evaluator import Evaluator

from tests.unit.controller.under_work import Values, under_work

FIRST = {"name": "classify", "prompt": {"text": "?"}}
RUN = {"container": {"image": "i"}}
KIND = Values({"classify": {"kind": "broken", "watchers": ["a", "b"]}})


@pytest.fixture
async def evaluator() -> AsyncIterator[Evaluator]:
    async with Evaluator() as opened:
        yield opened


async def render(
    function: Any, evaluator: Evaluator, step: dict[str, Any], stored: Values = KIND, **task: Any
) -> Any:
    made = under_work(FIRST, {"name": "next", **step}, **task)
    return await function(evaluator, made, 1, made.steps[1], stored)


async def fails(function: Any, evaluator: Evaluator, step: dict[str, Any], **task: Any) -> str:
    with pytest.raises(TemplateError) as raised:
        await render(function, evaluator, step, **task)
    return str(raised.value)


async def test_a_condition_yields_true_or_false_and_nothing_else(evaluator: Evaluator) -> None:
    async def when(template: str) -> bool:
        return await render(render_when, evaluator, {"when": template, **RUN})

    assert await when("{{ steps.classify.output.kind == 'broken' }}") is True
    assert await when("{{ steps.classify.output.kind == 'late' }}") is False
    assert await render(render_when, evaluator, RUN) is True
    assert await fails(render_when, evaluator, {"when": "{{ steps.classify.output.kind }}", **RUN}) == (
        'spec.steps[1].when: must yield true or false, and yields "broken"'
    )
    # A text that says true is a text.
    assert "yields" in await fails(render_when, evaluator, {"when": "true", **RUN})


async def test_items_come_from_outputs_from_inputs_and_from_the_spec(evaluator: Evaluator) -> None:
    async def items(value: Any, **task: Any) -> list[Any]:
        return await render(render_items, evaluator, {"forEach": {"items": value}, **RUN}, **task)

    assert await items("{{ steps.classify.output.watchers }}") == ["a", "b"]
    assert await items("{{ inputs.numbers }}", inputs={"numbers": [1, None, {"x": 2}]}) == [1, None, {"x": 2}]
    assert await items(["{{ steps.classify.output.kind }}", 2]) == ["broken", 2]
    assert await items([]) == []


async def test_items_must_be_a_list_and_not_too_long(evaluator: Evaluator) -> None:
    async def why(value: Any) -> str:
        return await fails(render_items, evaluator, {"forEach": {"items": value}, **RUN})

    path = "spec.steps[1].forEach.items: "
    assert await why("{{ steps.classify.output.kind }}") == path + 'must yield a list, and yields "broken"'
    assert await why("{{ range(1001) }}") == path + "yields 1001 items; at most 1000 are allowed"


async def test_a_question_is_asked_as_rendered_with_all_a_reply_needs(evaluator: Evaluator) -> None:
    wait = {"question": "Refund the {{ steps.classify.output.kind }} one?"}
    choose = {**wait, "choices": ["approve", "reject"], "timeout": "24h"}
    say = {**wait, "schema": {"type": "integer"}}

    chosen = await render(render_wait, evaluator, {"wait": choose})
    said = await render(render_wait, evaluator, {"wait": say})

    assert chosen == Question("Refund the broken one?", ["approve", "reject"], None, timedelta(hours=24))
    assert chosen.to_json() == {"question": "Refund the broken one?", "choices": ["approve", "reject"]}
    assert said.to_json() == {"question": "Refund the broken one?", "schema": {"type": "integer"}}
    assert said.timeout is None


async def test_a_question_is_not_endless(evaluator: Evaluator) -> None:
    wait = {"question": f"{{{{ 'x' * {MAX_QUESTION_CHARACTERS + 1} }}}}"}

    assert f"at most {MAX_QUESTION_CHARACTERS}" in await fails(render_wait, evaluator, {"wait": wait})


async def test_the_answer_of_nobody_is_one_that_a_person_could_give(evaluator: Evaluator) -> None:
    def wait(answer: Any, **kind: Any) -> dict[str, Any]:
        return {"wait": {"question": "?", "timeout": "1h", "onTimeout": answer, **kind}}

    choices = {"choices": ["broken", "late"]}
    assert await render(
        render_on_timeout, evaluator, wait("{{ steps.classify.output.kind }}", **choices)
    ) == ("broken")
    assert await render(render_on_timeout, evaluator, wait({"n": 1})) == {"n": 1}
    assert await fails(render_on_timeout, evaluator, wait("{{ 'lost' }}", **choices)) == (
        'spec.steps[1].wait.onTimeout: must be one of the choices (broken, late), and is "lost"'
    )
    wrong = await fails(
        render_on_timeout, evaluator, wait("{{ 1 }}", schema={"type": "object", "required": ["a"]})
    )
    assert wrong.startswith("spec.steps[1].wait.onTimeout: ")
    assert "object" in wrong


async def test_nobody_is_asked_where_the_answer_of_nobody_is_none(evaluator: Evaluator) -> None:
    wait = {"question": "?", "timeout": "168h", "onTimeout": "many", "schema": {"type": "integer"}}

    assert (await fails(render_wait, evaluator, {"wait": wait})).startswith("spec.steps[1].wait.onTimeout: ")


async def test_a_sleep_has_a_length_or_an_end(evaluator: Evaluator) -> None:
    async def sleep(**given: str) -> Any:
        return await render(
            render_sleep, evaluator, {"sleep": given}, inputs={"at": "2027-01-31T09:00:00Z", "no": "noon"}
        )

    assert await sleep(duration="168h") == timedelta(days=7)
    assert await sleep(until="{{ inputs.at }}") == datetime(2027, 1, 31, 9, tzinfo=UTC)
    assert await sleep(until="2027-01-31t10:00:00.5+01:00") == datetime(
        2027, 1, 31, 9, 0, 0, 500_000, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "text", ["noon", "2027-01-31", "2027-01-31T09:00:00", "2027-02-30T09:00:00Z", "20270131T090000Z", ""]
)
async def test_what_is_no_instant_is_named(evaluator: Evaluator, text: str) -> None:
    why = await fails(render_sleep, evaluator, {"sleep": {"until": "{{ inputs.at }}"}}, inputs={"at": text})

    assert why.startswith("spec.steps[1].sleep.until: must yield an instant such as 2027-01-31T09:00:00Z")
    assert f'"{text}"' in why


async def test_a_context_is_set_by_values_and_stays_small(evaluator: Evaluator) -> None:
    change = {"set": {"context": {"kind": "{{ steps.classify.output.kind }}", "n": 1, "old": None}}}

    assert await render(render_set, evaluator, change, session={}) == {
        "kind": "broken",
        "n": 1,
        "old": None,
    }
    large = {"set": {"context": {"all": f"{{{{ 'x' * {MAX_CONTEXT_BYTES} }}}}"}}}
    assert "keep large values in steps' outputs" in await fails(render_set, evaluator, large, session={})


async def test_the_ends_of_a_task(evaluator: Evaluator) -> None:
    end = {"return": {"value": {"kind": "{{ steps.classify.output.kind }}"}}}
    fail = {"fail": {"message": "no {{ steps.classify.output.kind }} ones: {{ 'x' * 5000 }}"}}

    assert await render(render_return, evaluator, end) == {"kind": "broken"}
    assert await render(render_return, evaluator, {"return": {}}) is None
    message = await render(render_fail, evaluator, fail)
    assert message.startswith("no broken ones: xxx")
    assert len(message.encode()) == 1024


async def test_the_context_in_scope_is_the_stored_one_once_there_is_one(evaluator: Evaluator) -> None:
    step = {"return": {"value": "{{ session.context }}"}}

    async def seen(stored: Values) -> Any:
        return await render(render_return, evaluator, step, stored, session={"context": {"plan": "gold"}})

    assert await seen(Values()) == {"plan": "gold"}
    assert await seen(Values(context={"plan": "free"})) == {"plan": "free"}
    assert await seen(Values(context={})) == {}


async def test_only_what_is_read_is_loaded_and_only_of_steps_that_are_done(evaluator: Evaluator) -> None:
    # Given two branches, the second of which does not need the first
    steps: list[dict[str, Any]] = [
        {"name": "left", "needs": [], **RUN},
        {"name": "right-hand", "needs": [], **RUN},
        {"name": "end", "needs": ["right-hand"], "return": {"value": "{{ steps.right_hand.output }}"}},
        {"name": "wrong", "needs": ["right-hand"], "return": {"value": "{{ steps.left.output }}"}},
    ]
    made, stored = under_work(*steps), Values({"left": 1, "right-hand": 2})

    assert await render_return(evaluator, made, 2, made.steps[2], stored) == 2
    assert stored.asked == ["right-hand"]
    with pytest.raises(TemplateError, match=r"spec.steps\[3\].return.value: steps.left is not defined"):
        await render_return(evaluator, made, 3, made.steps[3], stored)


async def test_a_tasks_output_is_its_last_steps_unless_it_says_otherwise(evaluator: Evaluator) -> None:
    steps = [FIRST, {"name": "pay", "when": "{{ false }}", **RUN}]
    stored = Values({"classify": {"kind": "broken"}, "pay": {"amount": 7}})

    assert await render_output(evaluator, under_work(*steps), stored) == {"amount": 7}
    assert stored.asked == ["pay"]
    said = under_work(*steps, output={"kind": "{{ steps.classify.output.kind }}"})
    assert await render_output(evaluator, said, stored) == {"kind": "broken"}
    skipped = Values({"classify": 1})
    assert await render_output(evaluator, under_work(*steps), skipped) is None
