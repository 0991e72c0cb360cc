"""Each time of a Schedule makes one Task."""

import asyncio

from parley.store import slots
from parley.store.leader import raise_epoch

from tests.integration.store.story import Story

SLOT = "2026-11-23T09:00:00Z"


async def take(
    story: Story, name: str = "report-0029", slot: str = SLOT, schedule: str = "schedule-1"
) -> bool:
    async with story.conn() as conn:
        return await slots.take_slot(conn, story.fence, schedule, slot, name)


async def confirm(story: Story, slot: str = SLOT, schedule: str = "schedule-1") -> None:
    async with story.conn() as conn:
        await slots.confirm_slot(conn, story.fence, schedule, slot)


async def test_a_slot_is_taken_for_one_name(story: Story) -> None:
    assert await take(story)
    assert not await take(story, "another")
    assert await take(story, slot="2026-11-23T10:00:00Z")
    assert await take(story, schedule="schedule-2")


async def test_a_leader_that_died_before_it_made_the_task_loses_no_slot(story: Story) -> None:
    assert await take(story)
    async with story.conn() as conn:
        story.fence = await raise_epoch(conn, story.fence.cluster, story.fence.install, "operator-1")
    assert await take(story)
    await confirm(story)
    await confirm(story)
    assert not await take(story), "what was made is never made again, also when it was deleted since"


async def test_a_slot_taken_many_times_at_once_is_one_row(story: Story) -> None:
    names = [f"report-{n}" for n in range(10)]
    taken = await asyncio.gather(*[take(story, name) for name in names])
    assert sum(taken) == 1
    assert await story.sql("SELECT task_name FROM slots") == [(names[taken.index(True)],)]


async def test_slots_of_long_ago_are_forgotten(story: Story) -> None:
    await take(story, slot="old")
    await take(story, slot="unmade")
    await confirm(story, "old")
    await story.sql("UPDATE slots SET at = at - interval '91 days', made_at = made_at - interval '91 days'")
    await take(story, slot="new")
    await confirm(story, "new")
    assert sorted(await story.sql("SELECT slot FROM slots")) == [("new",), ("unmade",)]
