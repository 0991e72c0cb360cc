"""A cluster in memory around a real store: the operator's own reconcilers, and pods that do what a test says.

The watch is the fake API server's own word, Postgres's notifications come through a real listener, and templates are
rendered in the real evaluator; only the Job controller, kubelets and runners are played.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, cast
from uuid import uuid4

from parley.controller.context import TASK_KEY, Context
from parley.controller.finality import is_final
from parley.controller.job_builder import MANAGED_BY_LABEL
from parley.controller.queue import Key, KeyedQueue
from parley.controller.settings import Settings
from parley.controller.sights import Sights
from parley.controller.workers import Workers
from parley.engine.names import pod_key
from parley.kube.client import FIELD_MANAGER, JsonObject
from parley.kube.events import Transition
from parley.kube.kinds import AGENT, DEPLOYMENT, JOB, POD, REPLY, SCHEDULE, SESSION, TASK, TASK_TEMPLATE, Kind
from parley.protocol.messages import TakeAnswer
from parley.store import runner_calls
from parley.store.leader import raise_epoch
from parley.store.listener import listen
from parley.store.pool import Pool, connect, open_pool
from parley.templates.evaluator import Evaluator

from tests.fake_kube import FakeKube
from tests.integration.controller.scripted_runner import Script, ScriptedRunner

NAMESPACE = "team"
PATIENCE = 60.0
WATCHED = (JOB, POD, AGENT, SESSION, TASK_TEMPLATE, SCHEDULE, REPLY, TASK, DEPLOYMENT)


@dataclass(frozen=True)
class Run:
    """What a pod was told to do."""

    job: str
    step: str
    index: int
    body: JsonObject

    @property
    def args(self) -> list[str]:
        return list(self._container.get("args") or ())

    @property
    def env(self) -> dict[str, str]:
        return {each["name"]: each.get("value", "") for each in self._container.get("env") or ()}

    @property
    def image(self) -> str:
        return str(self._container["image"])

    @property
    def _container(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.body)["spec"]["template"]["spec"]["containers"][0]


@dataclass(frozen=True)
class Exit:
    """How a container ends."""

    code: int = 0
    message: str = ""


Behaviour = Callable[[Run], Exit | Script | None]
"""What a pod does: a container's end, what a prompt's model says, or None: it goes on running."""


def says_nothing(run: Run) -> Exit | Script:
    """Every container succeeds, and every model answers with its step's name."""
    return f"answer of {run.step}" if is_prompt(run.body) else Exit()


def is_prompt(job: JsonObject) -> bool:
    return labels_of(job)["app.kubernetes.io/component"] == "runner"


def labels_of(body: JsonObject) -> dict[str, str]:
    return cast("dict[str, Any]", body)["metadata"]["labels"]


@dataclass
class Cluster:
    """See the module. ``runs`` has what pods were told, in order; ``running`` the pods that have not ended.

    ``taken`` has what runners were told, ``called`` the tools they ran themselves, with their idempotency keys.
    """

    database: str
    behaviour: Behaviour = says_nothing
    max_tasks_per_namespace: int = 0
    kube: FakeKube = field(default_factory=FakeKube)
    runs: list[Run] = field(default_factory=list[Run])
    running: dict[str, Run] = field(default_factory=dict[str, Run])
    told: list[Transition] = field(default_factory=list[Transition])
    taken: list[TakeAnswer] = field(default_factory=list[TakeAnswer])
    called: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    _new_jobs: list[JsonObject] = field(default_factory=list[JsonObject])
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def __aenter__(self) -> Self:
        self.pool: Pool = await self._stack.enter_async_context(open_pool(self.database, size=8))
        evaluator = await self._stack.enter_async_context(Evaluator())
        async with connect(self.pool) as connection:
            fence = await raise_epoch(connection, str(uuid4()), "parley", "operator-0")
        self.context = Context(
            settings=self._settings(),
            kube=self.kube,
            pool=self.pool,
            evaluator=evaluator,
            queue=KeyedQueue(),
            cluster=fence.cluster,
            store_id="store",
            fence=fence,
            tell=self.told.append,
        )
        self.lead_anew()
        self._listening = asyncio.create_task(
            listen(self.database, self._on_notify, lambda: None, asyncio.Event())
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await self._stack.aclose()

    def lead_anew(self) -> None:
        """Begin as a new leader does: nothing is remembered but what the API server and the store hold."""
        old = self.context
        self.context = Context(
            settings=old.settings,
            kube=old.kube,
            pool=old.pool,
            evaluator=old.evaluator,
            queue=KeyedQueue(),
            cluster=old.cluster,
            store_id=old.store_id,
            fence=old.fence,
            tell=old.tell,
        )
        self.sights = Sights(self.context)
        self.workers = Workers(self.context)
        self.kube.on_change = self._watch
        kinds = {kind.kind: kind for kind in WATCHED}
        for (kind, _, _), body in sorted(self.kube.objects.items(), key=lambda item: item[0][0] == "Task"):
            if kind in kinds:
                self.sights.see(kinds[kind], body, False)
        tasks = self.context.projection.tasks
        self.context.slots.expect(task.uid for task in tasks if not is_final(task))

    def _settings(self) -> Settings:
        return Settings(
            database_url=self.database,
            namespace="parley-system",
            identity="operator-0",
            install="parley",
            runner_image="parley:1",
            gateway_url="http://gateway:8080",
            watch_namespaces=(),
            http_port=0,
            workers=1,
            max_tasks_per_namespace=self.max_tasks_per_namespace,
        )

    # What users do.

    async def apply(self, kind: Kind, name: str, spec: Mapping[str, Any], **metadata: Any) -> str:
        """Create an object; return its uid."""
        body = {"metadata": {"name": name, "namespace": NAMESPACE, **metadata}, "spec": dict(spec)}
        created = cast("dict[str, Any]", await self.kube.create(kind, NAMESPACE, cast("JsonObject", body)))
        return str(created["metadata"]["uid"])

    async def agent(self, name: str = "support", **fields: Any) -> None:
        await self.apply(AGENT, name, {"model": {"provider": "OpenAI", "name": "scripted"}, **fields})

    async def session(self, name: str = "alice", **fields: Any) -> None:
        await self.apply(SESSION, name, {"agentRef": {"name": "support"}, **fields})

    async def task(self, name: str, *steps: Mapping[str, Any], **fields: Any) -> str:
        given = {"steps": list(steps)} if steps else {}
        return await self.apply(TASK, name, {**given, **fields})

    def edit(self, name: str, **fields: Any) -> None:
        self.kube.edit(
            TASK, NAMESPACE, name, lambda body: cast("dict[str, Any]", body["spec"]).update(fields)
        )

    def change_agent(self, name: str = "support", **fields: Any) -> None:
        self.kube.edit(
            AGENT, NAMESPACE, name, lambda body: cast("dict[str, Any]", body["spec"]).update(fields)
        )

    async def kube_delete(self, name: str) -> None:
        """Delete a Task."""
        await self.kube.delete(TASK, NAMESPACE, name)

    # What they see.

    def object_uid(self, name: str) -> str:
        return str(self.object(TASK, name)["metadata"]["uid"])

    def object(self, kind: Kind, name: str) -> dict[str, Any]:
        return cast("dict[str, Any]", self.kube.objects[kind.kind, NAMESPACE, name])

    def status(self, name: str) -> dict[str, Any]:
        return self.object(TASK, name)["status"]

    def step(self, name: str, step: str) -> dict[str, Any]:
        return next(each for each in self.status(name)["steps"] if each["name"] == step)

    def tasks(self) -> list[str]:
        return sorted(name for kind, _, name in self.kube.objects if kind == "Task")

    def jobs(self) -> list[str]:
        return [name for kind, _, name in self.kube.objects if kind == "Job"]

    def phases(self, name: str) -> dict[str, str]:
        return {step["name"]: step["phase"] for step in self.status(name)["steps"]}

    # What goes on by itself.

    async def settle(self) -> None:
        """Let the operator, the Job controller and the pods work until nobody has anything to do."""
        quiet = 0
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while quiet < 3:
            assert asyncio.get_running_loop().time() < deadline, (
                f"still at work: {self.context.queue._queued}"
            )
            worked = await self._work()
            worked = await self._start_pods() or worked
            # What the store notifies of comes over a connection of its own.
            await asyncio.sleep(0 if worked else 0.03)
            quiet = 0 if worked else quiet + 1

    async def until(self, done: Callable[[], bool], what: str) -> None:
        """Let everybody work, and time pass, until something is so."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            await self.settle()
            if done():
                return
            assert asyncio.get_running_loop().time() < deadline, f"not within {PATIENCE} s: {what}"

    async def _work(self) -> bool:
        queue, worked = self.context.queue, False
        queue._queue_due()
        while len(queue):
            key = await queue.get()
            try:
                await self.workers._by_kind[key.kind](key.namespace, key.name)
            finally:
                queue.done(key)
            worked = True
        return worked

    def _watch(self, change: str, kind: Kind, body: JsonObject) -> None:
        if kind is JOB and change == "ADDED":
            self._new_jobs.append(body)
        if kind in WATCHED:
            self.sights.see(kind, body, change == "DELETED")

    def _on_notify(self, uid: str) -> None:
        task = self.context.projection.tasks.by_uid(uid)
        if task is not None and not is_final(task):
            self.context.queue.add(Key(TASK_KEY, task.namespace, task.name))

    async def _start_pods(self) -> bool:
        jobs, self._new_jobs = self._new_jobs, []
        for job in jobs:
            spec = cast("dict[str, Any]", job)["spec"]
            for index in range(spec.get("completions", 1)):
                name = cast("dict[str, Any]", job)["metadata"]["name"]
                run = Run(name, labels_of(job)["parley.dev/step"], index, job)
                self.runs.append(run)
                outcome = self.behaviour(run)
                if outcome is None:
                    self.running[pod_key(name, index)] = run
                    await self._pod(run, "Running", {"running": {}})
                else:
                    await self.end(run, outcome)
        return bool(jobs)

    async def end(self, run: Run, outcome: Exit | Script) -> None:
        """End a pod: a container with an exit code, a prompt with its answer."""
        self.running.pop(pod_key(run.job, run.index), None)
        if not isinstance(outcome, Exit):
            await self.answer(run, [outcome] if isinstance(outcome, str) else outcome)
            outcome = Exit()
        state = {"exitCode": outcome.code, "message": outcome.message, "reason": "Completed"}
        await self._pod(run, "Failed" if outcome.code else "Succeeded", {"terminated": state})

    async def answer(self, run: Run, script: Script) -> None:
        """Do what a runner does whose model says this."""
        uid, holder = labels_of(run.body)["parley.dev/task-uid"], f"pod-{run.job}-{run.index}/nonce"
        async with connect(self.pool) as connection:
            taken = await runner_calls.take(
                connection, job=run.job, index=run.index, task_uid=uid, namespace=NAMESPACE, holder=holder
            )
            runner = ScriptedRunner(connection, holder, script, taken)
            self.taken.append(taken)
            await runner.run()
            self.called += runner.ran

    async def _pod(self, run: Run, phase: str, state: Mapping[str, Any]) -> None:
        name = f"{run.job}-{run.index}"
        labels = {**labels_of(run.body), MANAGED_BY_LABEL: FIELD_MANAGER}
        labels["batch.kubernetes.io/job-completion-index"] = str(run.index)
        uid = cast("dict[str, Any]", run.body)["metadata"]["uid"]
        body: dict[str, Any] = {
            "metadata": {
                "name": name,
                "namespace": NAMESPACE,
                "labels": labels,
                "ownerReferences": [{"kind": "Job", "name": run.job, "uid": uid, "controller": True}],
            },
            "spec": {"nodeName": "node-1"},
            "status": {"phase": phase, "containerStatuses": [{"name": "step", "state": dict(state)}]},
        }
        if ("Pod", NAMESPACE, name) in self.kube.objects:
            self.kube.edit(POD, NAMESPACE, name, lambda old: old.update(status=body["status"]))
        else:
            await self.kube.create(POD, NAMESPACE, cast("JsonObject", body))


def now() -> datetime:
    return datetime.now(UTC)
