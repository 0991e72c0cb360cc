"""Sessions that chat at once, through two gateways and warm runners, while one of each is killed.

Each session has somebody who posts a message, reads the turn's stream to its end, thinks, and posts the next. The
model takes a fixed time for an answer; what a turn takes beyond that is Parley's share.
"""

import asyncio
import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.bench.bench import Bench, say
from tests.bench.chat_people import Gateways, Person, Turn
from tests.bench.chat_world import MODEL_SECONDS, ChatWorld
from tests.bench.cpu import say_spent, spent
from tests.bench.figures import in_words
from tests.e2e.disruption import send

SESSIONS = 200
SECONDS = 180.0
THINKING_SECONDS = 40.0
"""On average, between an answer and the next message; 200 people then make five turns a second."""
_SEED = 6
_WARM_UP = 10


@dataclass
class Chats:
    """What the people saw."""

    turns: list[Turn] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    """What the parts had spent when the first was killed; a process takes its count with it."""
    counted: int = 0
    """Turns there were by then."""

    killed_at: float = 0.0
    """When the first was killed, by the monotonic clock."""


def run(bench: Bench) -> None:
    """Let all chat, check every transcript, and print what a turn cost."""
    count, seconds = bench.sized(SESSIONS, 4), max(30.0, SECONDS * min(bench.scale, 1.0))
    with bench.namespace() as namespace, ChatWorld(bench.cluster, namespace, count) as world:
        say(f"  {count} sessions, {seconds:.0f} s, {THINKING_SECONDS:.0f} s of thinking on average")
        before, cpu = world.memory(), spent(bench.cluster, namespace)
        chats = asyncio.run(_chat(world, count, seconds))
        after = world.memory()
        problems = [problem for name in world.sessions for problem in world.problems_of(name, chats.turns)]
        say_spent(cpu, chats.cpu, chats.counted, "turn")
        _report(chats, world.model_times(), world.posted_times(), before, after, problems)


async def _chat(world: ChatWorld, count: int, seconds: float) -> Chats:
    chats = Chats()
    # The same people each time; nothing here hides anything.
    chance = random.Random(_SEED)
    async with Gateways(world.gateway_urls(), world.token) as gateways:
        people = [Person(name, gateways, world.namespace) for name in world.sessions[:count]]
        end = time.monotonic() + seconds
        for _ in range(2):
            # Each gateway and each runner has its connections then.
            await asyncio.gather(*(person.say("warm up") for person in people[:_WARM_UP]))
        talks = [
            asyncio.create_task(_talk(person, world, chats, end, random.Random(chance.random())))
            for person in people
        ]
        await _disturb(world, chats, seconds)
        await asyncio.gather(*talks)
    return chats


async def _talk(person: Person, world: ChatWorld, chats: Chats, end: float, chance: random.Random) -> None:
    # As if they had been at it for a while.
    await asyncio.sleep(chance.expovariate(1 / THINKING_SECONDS))
    number = 0
    while time.monotonic() < end:
        number += 1
        chats.turns.append(
            await person.say(f"[slow {MODEL_SECONDS}s] echo: {person.session} {number} of {world.namespace}")
        )
        await asyncio.sleep(min(chance.expovariate(1 / THINKING_SECONDS), max(end - time.monotonic(), 0)))


async def _disturb(world: ChatWorld, chats: Chats, seconds: float) -> None:
    """Kill a gateway, then a runner, two thirds into the run."""
    # What looks at the cluster weighs on it: that is over when something is killed.
    settling = min(5.0, seconds / 12)
    await asyncio.sleep(seconds * 2 / 3 - settling)
    chats.cpu = await asyncio.to_thread(spent, world.cluster, world.namespace)
    chats.counted = len(chats.turns)
    victims = await asyncio.to_thread(world.find_victims)
    await asyncio.sleep(settling)
    for victim in victims:
        chats.killed_at = chats.killed_at or time.monotonic()
        send(victim.pids, signal.SIGKILL)
        say(f"  killed a {victim.what} ({victim.pod}) after {len(chats.turns)} turns")
        await asyncio.sleep(min(15.0, seconds / 8))


def _report(
    chats: Chats,
    asked: dict[str, float],
    posted: dict[str, float],
    before: dict[str, float],
    after: dict[str, float],
    problems: Sequence[str],
) -> None:
    turns = chats.turns
    took = max(turn.began + turn.seconds for turn in turns) - min(turn.began for turn in turns)
    say(f"  {len(turns)} turns, {len(turns) / took:.1f} a second; {sum(t.repeats for t in turns)} repeats")
    before_kill = [turn for turn in turns if turn.began + turn.seconds < chats.killed_at]
    afterwards = [turn for turn in turns if turn.began + turn.seconds >= chats.killed_at]
    for when, some in (
        ("before anything was killed", before_kill),
        ("from the first kill to the end", afterwards),
        ("in all", turns),
    ):
        known = [turn for turn in some if turn.message in asked and turn.message in posted]
        firsts = [asked[turn.message] - turn.began for turn in known]
        since_posted = [asked[turn.message] - posted[turn.message] for turn in known]
        say(f"  {when}:")
        say(f"    Parley's share of a turn: {in_words([turn.seconds - MODEL_SECONDS for turn in some])}")
        say(f"    from the caller's request to the model's first request: {in_words(firsts)}")
        say(
            f"    from the message's time in its session to the model's first request: {in_words(since_posted)}"
        )
    say(f"  the longest turn: {max(turn.seconds for turn in turns):.1f} s")
    for pod in sorted(after):
        say(f"  memory of {pod}: {before.get(pod, 0):.0f} MiB before, {after[pod]:.0f} MiB after")
    say(f"  transcripts that are not complete, ordered and their own: {len(problems)}")
    for problem in problems[:20]:
        say(f"    {problem}")
    if problems:
        raise AssertionError(f"{len(problems)} transcripts are wrong")
