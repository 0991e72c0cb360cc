"""A storm: tasks come in while parts are killed, people reply meanwhile, and all is counted when it is over."""

import contextlib
import json
import random
import time
from collections.abc import Callable

import httpx2

from tests.chaos.killing import KILLS, Kill
from tests.chaos.shapes import SCHEDULE, Work, mixed, shared
from tests.chaos.verdict import Verdict, decided, judge, unended
from tests.cluster import Cluster, Refused, collection
from tests.e2e.conftest import Store, reply
from tests.e2e.disruption import all_ready, replace_backed_off

Say = Callable[[str], None]
TICK = 0.5


class Storm:
    """One run.

    Args:
        seconds: how long parts are killed; the tasks come in during the first two thirds of it.
        count: how many tasks.
        seed: what is killed when and which tasks come, the same for the same seed.
        pause: seconds from one kill to the next, the shortest and the longest.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        namespace: str,
        *,
        seconds: float,
        count: int,
        seed: int,
        pause: tuple[float, float] = (6.0, 14.0),
        say: Say = print,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._namespace = namespace
        self._seconds = seconds
        self._seed = seed
        self._say = say
        dice = random.Random(seed)
        self._works = mixed(count, dice)
        self._arrivals = sorted(dice.uniform(0, seconds * 2 / 3) for _ in self._works)
        self.plan: list[tuple[float, Kill]] = []
        while (at := (self.plan[-1][0] if self.plan else 0.0) + dice.uniform(*pause)) < seconds:
            self.plan.append((at, dice.choice(KILLS)))
        self._answered: set[str] = set()
        self._applied = 0

    def run(self, patience: float) -> Verdict:
        """Run it, then wait so many seconds at most until all tasks have ended."""
        self._cluster.apply(self._namespace, *shared())
        first_minute = int(time.time()) // 60 + 1
        began = time.monotonic()
        killed = 0
        while (now := time.monotonic() - began) < self._seconds:
            self._apply(now)
            self._reply()
            if killed < len(self.plan) and now >= self.plan[killed][0]:
                self._kill(now, killed)
                killed += 1
            self._restart()
            time.sleep(TICK)
        all_ready(self._cluster)
        self._say(f"{now:6.1f} s: the storm is over after {killed} kills; waiting for the tasks to end")
        # A time may be made up for late: those of the last half minute need not be there yet.
        last_minute = int(time.time() - 30) // 60
        suspend = '{"spec":{"suspend":true}}'
        self._cluster.kubectl(
            "patch", "schedule", SCHEDULE, "-n", self._namespace, "--type=merge", "-p", suspend
        )
        end = time.monotonic() + patience
        while time.monotonic() < end:
            self._apply(self._seconds)
            self._reply()
            if self._applied == len(self._works) and self._all_ended():
                break
            time.sleep(TICK)
        self._say(f"{time.monotonic() - began:6.1f} s: all has ended, or its time is up")
        minutes = range(first_minute, last_minute + 1)
        return judge(self._cluster, self._store, self._namespace, self._works, minutes)

    def _all_ended(self) -> bool:
        try:
            return not unended(self._cluster, self._namespace) and all(
                decided(reply) for reply in self._cluster.list("reply", self._namespace)
            )
        except httpx2.HTTPError:
            return False

    def _apply(self, now: float) -> None:
        due = sum(arrival <= now for arrival in self._arrivals)
        batch: list[Work] = self._works[self._applied : due]
        if not batch:
            return
        try:
            self._cluster.apply(self._namespace, *(work.manifest for work in batch))
        except Refused as refused:
            self._say(f"{now:6.1f} s: kubectl could not apply, it is tried again: {refused}")
            return
        self._applied = due

    def _reply(self) -> None:
        """Answer every question, now and then twice: the second answer must count for nothing."""
        try:
            for body in self._cluster.list("task", self._namespace):
                for entry in body["status"].get("waiting") or []:
                    self._answer(body["metadata"]["name"], entry["id"])
        except httpx2.HTTPError as error:
            self._say(f"replies are tried again: {error}")

    def _answer(self, task: str, wait_id: str) -> None:
        if wait_id in self._answered:
            return
        twice = self._dice(task).random() < 0.5
        words = (f"{task}-yes-{wait_id[:8]}", f"{task}-again-{wait_id[:8]}")
        for name in words[: 2 if twice else 1]:
            made = self._cluster.request(
                "POST",
                collection("reply", self._namespace),
                json=reply(name, task, wait_id, choice="approve"),
            )
            if made.status_code not in {201, 409}:
                self._say(f"reply {name}: {made.status_code} {json.dumps(made.json())[:300]}")
                return
        self._answered.add(wait_id)

    def _kill(self, now: float, number: int) -> None:
        kill = self.plan[number][1]
        try:
            what = kill(self._cluster, self._namespace, self._dice(str(number)))
        except httpx2.HTTPError as error:
            what = f"not done: {error}"
        self._say(f"{now:6.1f} s: {kill.__name__}: {what}")

    def _restart(self) -> None:
        """Have what was killed again and again restarted at once: what is away for long proves little."""
        with contextlib.suppress(httpx2.HTTPError):
            replace_backed_off(self._cluster)

    def _dice(self, what: str) -> random.Random:
        """Dice of its own for each thing, so that one that falls otherwise changes no other."""
        return random.Random(f"{self._seed}/{what}")
