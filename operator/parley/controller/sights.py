"""From a sight of an object to the keys it concerns. Runs in the operator's loop, for every watch event and list."""

import logging

from parley.controller.agent_counts import count_soon
from parley.controller.context import (
    AGENT_KEY,
    GONE_SESSION_KEY,
    GONE_TASK_KEY,
    REPLY_KEY,
    SCHEDULE_KEY,
    SESSION_KEY,
    TASK_KEY,
    TEMPLATE_KEY,
    TURNS_KEY,
    WARM_KEY,
    Context,
)
from parley.controller.finality import is_final, is_settled
from parley.controller.pod_view import key_of_pod, read_job, read_pod
from parley.controller.projection import TASK_LABEL, TASK_UID_LABEL, ResourceCache
from parley.controller.pruning import is_to_prune
from parley.controller.resource import Resource, referred, workload_key
from parley.controller.warm_runners import agent_uid_of_pod
from parley.controller.warm_sights import WarmSights
from parley.kube.client import JsonObject
from parley.kube.kinds import AGENT, DEPLOYMENT, JOB, POD, REPLY, SCHEDULE, SESSION, TASK, TASK_TEMPLATE, Kind

log = logging.getLogger(__name__)
_KEYS = {
    AGENT: AGENT_KEY,
    SESSION: SESSION_KEY,
    TASK_TEMPLATE: TEMPLATE_KEY,
    SCHEDULE: SCHEDULE_KEY,
    REPLY: REPLY_KEY,
}
_KEYS_OF_OWNERS = {TASK.kind: TASK_KEY, SCHEDULE.kind: SCHEDULE_KEY}


class Sights:
    """Keeps the projection and queues keys; never waits, never raises."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._warm = WarmSights(context)

    def see(self, kind: Kind, body: JsonObject, deleted: bool) -> None:
        """Take in an object as the watch delivered it."""
        self._context.echoes.heard(kind, body)
        try:
            self._take_in(kind, body, deleted)
        except Exception:
            log.exception("cannot read a %s: %s", kind.kind, body.get("metadata"))

    def _take_in(self, kind: Kind, body: JsonObject, deleted: bool) -> None:
        if kind is DEPLOYMENT or (kind is POD and agent_uid_of_pod(body) is not None):
            self._warm.see(kind, body, deleted)
            return
        if kind in {JOB, POD}:
            self._see_workload(kind, body, deleted)
            return
        resource = Resource.from_object(body)
        if deleted:
            self.drop(kind, resource)
        else:
            self.see_resource(kind, resource)

    def see_resource(self, kind: Kind, resource: Resource) -> None:
        """Take in one of Parley's own objects."""
        cache = self.cache(kind)
        known = cache.get(resource.namespace, resource.name)
        if not cache.see(resource):
            return
        if known is not None and known.uid != resource.uid:
            self._gone(kind, known)
        elif known is not None and self._is_own_status(known, resource):
            return
        if kind is TASK:
            self._wake_task(resource, new=known is None or known.uid != resource.uid)
        else:
            self._context.wake(_KEYS[kind], resource.namespace, resource.name)
            self._wake_dependents(kind, resource)

    def _is_own_status(self, known: Resource, seen: Resource) -> bool:
        """Whether only the status has changed, to what is being written: who writes it wakes whom it concerns."""
        before = known.generation, known.deleting, known.annotations
        unchanged = before == (seen.generation, seen.deleting, seen.annotations)
        return unchanged and self._context.echoes.is_under_way(seen.uid, seen.status)

    def drop(self, kind: Kind, resource: Resource) -> None:
        """Take in that one of Parley's own objects is gone."""
        self.cache(kind).drop(resource)
        self._gone(kind, resource)
        self._wake_dependents(kind, resource)

    def cache(self, kind: Kind) -> ResourceCache:
        """Return the cache of a kind."""
        projection = self._context.projection
        return {
            AGENT: projection.agents,
            SESSION: projection.sessions,
            TASK: projection.tasks,
            TASK_TEMPLATE: projection.templates,
            SCHEDULE: projection.schedules,
            REPLY: projection.replies,
        }[kind]

    def _see_workload(self, kind: Kind, body: JsonObject, deleted: bool) -> None:
        metadata = body["metadata"]
        labels = metadata.get("labels") if isinstance(metadata, dict) else None
        if not isinstance(metadata, dict) or not isinstance(labels, dict) or TASK_UID_LABEL not in labels:
            return
        uid, namespace = str(labels[TASK_UID_LABEL]), str(metadata["namespace"])
        key, workloads = workload_key(namespace, uid), self._context.projection.workloads
        task = self._context.projection.tasks.by_uid(uid)
        if task is not None and (is_final(task) or task.namespace != namespace):
            return
        if kind is JOB:
            job = read_job(body)
            if deleted:
                workloads.drop_job(key, job.name)
                changed = True
            else:
                changed = workloads.see_job(key, job)
        else:
            owner = key_of_pod(body)
            if owner is None:
                return
            pod = read_pod(body)
            changed = workloads.see_pod(key, owner, pod)
            if deleted:
                changed = workloads.drop_pod(key, owner, pod.uid) or changed
        if deleted and task is None:
            # The garbage collector follows its Task: nothing asks for these any more.
            workloads.forget_task(key)
        elif changed:
            self._context.wake(TASK_KEY, namespace, str(labels[TASK_LABEL]))

    def _wake_task(self, task: Resource, *, new: bool) -> None:
        if not is_settled(task) or is_to_prune(task):
            self._context.wake(TASK_KEY, task.namespace, task.name)
        over = task.deleting or (is_final(task) and not new)
        if over and (name := referred(task, "sessionRef")):
            # It takes no turn any more, however long a finalizer of somebody else holds it.
            self._context.wake(TURNS_KEY, task.namespace, name)
        if new or is_final(task):
            wake_owner(self._context, task)
        if new:
            count_soon(self._context, task)
            # Applied in any order, a Reply may come before its Task.
            for reply in self._context.projection.replies.referring_to(task.namespace, task.name):
                self._context.wake(REPLY_KEY, reply.namespace, reply.name)

    def _wake_dependents(self, kind: Kind, resource: Resource) -> None:
        """Queue what waits for this object, or did until it went."""
        projection, namespace, name = self._context.projection, resource.namespace, resource.name
        if kind is SESSION:
            count_soon(self._context, resource)
            self._context.wake(TURNS_KEY, namespace, name)
            tasks = projection.tasks.referring_to(namespace, name)
        elif kind is AGENT:
            if projection.runners.deployment(namespace, resource.uid) is not None:
                self._context.wake(WARM_KEY, namespace, name)
            sessions = projection.sessions.referring_to(namespace, name)
            for session in sessions:
                self._context.wake(SESSION_KEY, namespace, session.name)
            tasks = [t for s in sessions for t in projection.tasks.referring_to(namespace, s.name)]
            tasks += projection.tasks.referring_to(namespace, name, "agentRef")
            # Those whose template names their agent.
            tasks += [t for t in projection.tasks if t.namespace == namespace and "templateRef" in t.spec]
        elif kind is TASK_TEMPLATE:
            tasks = projection.tasks.referring_to(namespace, name, "templateRef")
        else:
            return
        for task in tasks:
            if not is_final(task):
                self._context.wake(TASK_KEY, namespace, task.name)

    def _gone(self, kind: Kind, resource: Resource) -> None:
        if kind is TASK:
            self._context.projection.workloads.forget_task(resource.workload_key)
            self._context.ready_steps.forget(resource.uid)
            self._context.slots.forget(resource.uid)
            self._context.demand.forget(resource.uid)
            if (session := self._context.askers.forget(resource.uid)) is not None:
                wake_session_tasks(self._context, resource.namespace, session)
            wake_owner(self._context, resource)
            count_soon(self._context, resource)
            if name := referred(resource, "sessionRef"):
                # Tickets may have waited for this task alone: it was gone before its first plan.
                self._context.wake(TURNS_KEY, resource.namespace, name)
                self._context.wake(SESSION_KEY, resource.namespace, name)
            self._context.wake(GONE_TASK_KEY, resource.namespace, resource.uid)
        elif kind is AGENT:
            self._context.demand.forget_agent(resource.uid)
            self._context.projection.runners.forget(resource.namespace, resource.uid)
        elif kind is SESSION:
            self._context.known_sessions.discard(resource.uid)
            self._context.wake(GONE_SESSION_KEY, resource.namespace, resource.uid)


def wake_children(context: Context, task: Resource) -> None:
    """Queue a task's open children: the store notifies only those that it knows."""
    for child in context.projection.tasks.owned_by(task.uid):
        if not is_final(child):
            context.wake(TASK_KEY, child.namespace, child.name)


def wake_session_tasks(context: Context, namespace: str, session: str) -> None:
    """Queue a session's open tasks: what they wait for has changed."""
    for task in context.projection.tasks.referring_to(namespace, session):
        if not is_final(task):
            context.wake(TASK_KEY, namespace, task.name)


def wake_owner(context: Context, task: Resource) -> None:
    """Queue whoever has something of a task: its Schedule, its parent, the session whose tool has queued it."""
    if task.owner is not None and (key := _KEYS_OF_OWNERS.get(task.owner.kind)):
        context.wake(key, task.namespace, task.owner.name)
    if task.session is not None and is_final(task):
        # It is told of the end, and shows it.
        context.wake(SESSION_KEY, task.namespace, task.session)
