"""How many writes the operator sends to the API server, without Events and Leases; and its CPU."""

import time
import uuid

from tests.bench.audit import Audit, Writes, in_words, is_audited
from tests.bench.bench import Bench, say
from tests.bench.manifests import SCRIPTED, container_steps, prompt_steps
from tests.bench.measure import create, operator_cost
from tests.e2e.conftest import session

MORE = 5
"""Further steps, turns and items, to divide what they cost by their number."""
_LAST_WRITES = 15.0
"""Seconds in which an Agent's counters and a Session's status follow the end of a task."""


def difference(more: Writes, less: Writes, by: int) -> dict[tuple[str, str], float]:
    """What each of ``by`` further ones cost."""
    each = {key: (more.get(key, 0) - less.get(key, 0)) / by for key in {*more, *less}}
    return {key: count for key, count in each.items() if abs(count) > 0.005}


class Counted:
    """Tasks of one namespace, one after the other, and what each cost."""

    def __init__(self, bench: Bench, namespace: str) -> None:
        self._bench = bench
        self._namespace = namespace
        self._audit = Audit(bench.cluster, namespace)
        self._repeats = bench.sized(5)

    def __call__(self, steps: list[dict[str, object]], **spec: object) -> Writes:
        before = self._audit.writes()
        for _ in range(self._repeats):
            self._bench.run_task(self._namespace, steps, **spec)
        time.sleep(_LAST_WRITES)
        after = self._audit.writes()
        return {key: count / self._repeats for key, count in (after - before).items()}


def run(bench: Bench) -> None:
    """Print the writes per task, further step, turn and round."""
    if not is_audited(bench.cluster):
        say("API writes: not measured, this cluster's API server keeps no audit log")
        return
    with bench.namespace() as namespace:
        writes_of = Counted(bench, namespace)
        bench.run_task(namespace, container_steps(1))
        time.sleep(_LAST_WRITES)
        before = operator_cost(bench.cluster)
        one = writes_of(container_steps(1))
        after = operator_cost(bench.cluster)
        say(f"API writes per task of one container step: {in_words(one)}")
        cpu = (after.cpu_seconds - before.cpu_seconds) / bench.sized(5)
        say(
            f"  the operator's CPU, what it does beside included: {1000 * cpu:.0f} ms;"
            f" its memory: {after.memory_bytes / 2**20:.0f} MiB resident"
        )
        many = writes_of(container_steps(1 + MORE))
        say(f"API writes per further container step: {in_words(difference(many, one, MORE))}")

        prompt = writes_of(prompt_steps(1), **SCRIPTED)
        say(f"API writes per task of one prompt step without a session: {in_words(prompt)}")
        name = f"session-{uuid.uuid4().hex[:6]}"
        create(bench.cluster, "session", namespace, session(name))
        turn: dict[str, object] = {"name": "s0", "prompt": {"text": "echo: hello"}}
        bench.run_task(namespace, [turn], sessionRef={"name": name})
        time.sleep(_LAST_WRITES)
        turns = writes_of([turn], sessionRef={"name": name})
        say(f"API writes more when it is a turn of a Session: {in_words(difference(turns, prompt, 1))}")

        fan: dict[str, object] = {
            **prompt_steps(1)[0],
            "forEach": {"items": list(range(MORE)), "parallelism": MORE},
        }
        say(
            f"API writes per fan-out of {MORE} prompts in one round: {in_words(writes_of([fan], **SCRIPTED))}"
        )
