"""How many writes the operator sends to the API server, without Events and Leases; and its CPU."""

import uuid
from collections.abc import Mapping

from tests.bench.bench import Bench, say
from tests.bench.manifests import SCRIPTED, container_steps, prompt_steps
from tests.bench.measure import OperatorCost, create, in_words, operator_cost, spent
from tests.e2e.conftest import session

MORE = 5
"""Further steps, turns and items, to divide what they cost by their number."""

Writes = Mapping[tuple[str, str], float]


def difference(more: Writes, less: Writes, by: int) -> dict[tuple[str, str], float]:
    """What each of ``by`` further ones cost."""
    each = {key: (more.get(key, 0) - less.get(key, 0)) / by for key in sorted({*more, *less})}
    return {key: count for key, count in each.items() if abs(count) > 0.005}


def run(bench: Bench) -> None:
    """Print the writes per task, further step, turn and round."""
    with bench.namespace() as namespace:
        repeats = bench.sized(5)

        def writes_of(
            steps: list[dict[str, object]], **spec: object
        ) -> tuple[Writes, OperatorCost, OperatorCost]:
            before = operator_cost(bench.cluster)
            for _ in range(repeats):
                bench.run_task(namespace, steps, **spec)
            after = operator_cost(bench.cluster)
            return spent(before, after, repeats), before, after

        bench.run_task(namespace, container_steps(1))
        one, before, after = writes_of(container_steps(1))
        say(f"API writes per task of one container step: {in_words(one)}")
        cpu = (after.cpu_seconds - before.cpu_seconds) / repeats
        say(
            f"  the operator's CPU: {1000 * cpu:.0f} ms; its memory: {after.memory_bytes / 2**20:.0f} MiB resident"
        )
        many, *_ = writes_of(container_steps(1 + MORE))
        say(f"API writes per further container step: {in_words(difference(many, one, MORE))}")

        prompt, *_ = writes_of(prompt_steps(1), **SCRIPTED)
        say(f"API writes per task of one prompt step without a session: {in_words(prompt)}")
        name = f"session-{uuid.uuid4().hex[:6]}"
        create(bench.cluster, "session", namespace, session(name))
        turn: dict[str, object] = {"name": "s0", "prompt": {"text": "echo: hello"}}
        bench.run_task(namespace, [turn], sessionRef={"name": name})
        turns, *_ = writes_of([turn], sessionRef={"name": name})
        say(f"API writes more when it is a turn of a Session: {in_words(difference(turns, prompt, 1))}")

        fan = {**prompt_steps(1)[0], "forEach": {"items": list(range(MORE)), "parallelism": MORE}}
        rounds, *_ = writes_of([fan], **SCRIPTED)
        say(f"API writes per fan-out of {MORE} prompts in one round: {in_words(rounds)}")
