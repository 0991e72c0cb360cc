"""Whom a task is with: its session, the agent that answers, the person who speaks, the templates of its tools."""

from collections.abc import Sequence

from parley.controller.context import Context
from parley.controller.resource import Resource
from parley.controller.slots import Claim, Limit
from parley.controller.task_under_work import TaskUnderWork
from parley.engine.state import Hold
from parley.kube.kinds import SESSION
from parley.resources.agent import AgentSpec
from parley.resources.reasons import Reason
from parley.resources.session import SessionSpec
from parley.resources.steps import Step
from parley.resources.task_template import TaskTemplateSpec


class Resolver:
    """Looks all of it up anew each time: any of it may be made, changed, or made again at any time."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def resolve(self, task: TaskUnderWork) -> None:
        """Fill in what the task refers to, as far as it is there."""
        task.session, task.agent, task.agent_name, task.speaker = None, None, None, None
        task.session_spec, task.agent_spec, task.unusable, task.misfit = None, None, [], None
        own = task.spec.agent_ref.name if task.spec.agent_ref is not None else None
        if own is not None:
            self._context.projection.tasks.bind(task.resource, "agentRef", own)
        if task.spec.session_ref is None:
            task.agent_name = own
        else:
            await self._resolve_session(task, task.spec.session_ref.name, own)
        if task.agent_name is not None:
            await self._resolve_agent(task, task.agent_name)
        task.claim = self._claim(task)

    def hold(self, task: TaskUnderWork) -> Hold | None:
        """Say what of it is missing or unusable, so that nothing of the task may start."""
        session_ref = task.spec.session_ref
        if session_ref is not None and task.session is None:
            named = f"Session {session_ref.name}"
            if (posted_in := task.resource.posted_in) is not None:
                named += f" with the uid {posted_in}, in which this message was posted,"
            return Hold(Reason.SESSION_NOT_FOUND, f"{named} does not exist in this namespace")
        if task.unusable:
            return Hold(Reason.INVALID_SPEC, "; ".join(task.unusable))
        if task.agent_name is not None and task.agent is None:
            return Hold(Reason.AGENT_NOT_FOUND, f"Agent {task.agent_name} does not exist in this namespace")
        if task.session is not None and (mismatch := self._context.mismatched_sessions.get(task.session.uid)):
            return Hold(Reason.STORE_MISMATCH, f"Session {task.session.name}: {mismatch}")
        return None

    async def _resolve_session(self, task: TaskUnderWork, name: str, agent: str | None) -> None:
        projection = self._context.projection
        projection.tasks.bind(task.resource, "sessionRef", name)
        found = projection.sessions.get(task.resource.namespace, name)
        if found is None or task.resource.posted_in not in {None, found.uid}:
            # A gateway may not have known yet that the Session was made anew: this message was said in the one before.
            return
        task.session = found
        reading = await self._context.specs.read(SessionSpec, task.session)
        task.session_spec = spec = reading.spec
        task.unusable += [f"Session {name}: {problem}" for problem in reading.problems]
        if spec is None:
            return
        agents, people = spec.agent_names, spec.people
        task.agent_name = agent or next(iter(agents), None)
        if agent is not None and agents and agent not in agents:
            await self._refuse_agent(task, task.session, agent, agents)
        said_by = task.spec.user
        task.speaker = next((each for each in people if said_by is None or each.id == said_by), None)
        if said_by is not None and task.speaker is None:
            known = ", ".join(each.id for each in people if each.id) or "nobody"
            task.unusable.append(f"spec.user: {said_by} is none of Session {name}'s users, which are {known}")

    async def _refuse_agent(
        self, task: TaskUnderWork, session: Resource, agent: str, agents: Sequence[str]
    ) -> None:
        which = (
            f"spec.agentRef: Agent {agent} is none of Session {session.name}'s, which are {', '.join(agents)}"
        )
        # Sessions and Tasks are watched apart: this one may be gone, and another of its name have the agent.
        newest = await self._context.kube.get(SESSION, session.namespace, session.name)
        seen = Resource.from_object(newest) if newest is not None else None
        if seen is not None and seen.uid == session.uid and not seen.deleting:
            task.misfit = (
                f"{which}; neither can be changed: make another Task that names one of them, or none"
            )
        else:
            task.unusable.append(which)

    async def _resolve_agent(self, task: TaskUnderWork, name: str) -> None:
        projection, specs, namespace = self._context.projection, self._context.specs, task.resource.namespace
        task.agent = projection.agents.get(namespace, name)
        if task.agent is None:
            return
        agent = await specs.read(AgentSpec, task.agent)
        task.agent_spec = agent.spec
        task.unusable += [f"Agent {name}: {problem}" for problem in agent.problems]
        if task.spec.session_ref is None and agent.spec is not None:
            task.misfit = _needs_session(task.steps, agent.spec)
        task.template_schemas = {}
        for tool in agent.spec.tools if agent.spec is not None else ():
            if tool.task is None or tool.parameters is not None:
                continue
            template = projection.templates.get(namespace, tool.task.template_ref.name)
            if template is not None:
                spec = (await specs.read(TaskTemplateSpec, template)).spec
                if spec is not None and spec.input_schema is not None:
                    task.template_schemas[template.name] = spec.input_schema

    def _claim(self, task: TaskUnderWork) -> Claim:
        resource, limits = task.resource, list[Limit]()
        if task.agent_name is not None:
            of_agent = task.agent_spec.limits if task.agent_spec else None
            places = of_agent.max_concurrent_tasks if of_agent else None
            limits.append(Limit(f"Agent {task.agent_name}", resource.namespace, places))
        most = self._context.settings.max_tasks_per_namespace
        limits.append(Limit(f"namespace {resource.namespace}", resource.namespace, most or None))
        return Claim(resource.uid, resource.namespace, resource.name, resource.created, tuple(limits))


def _needs_session(steps: Sequence[Step], agent: AgentSpec) -> str | None:
    """Say which step calls a tool that only a task with a session can."""
    for index, step in enumerate(steps):
        if step.tool is not None and step.tool.name in agent.builtin_tools:
            path, name = f"spec.steps[{index}].tool.name", step.tool.name
            return f"{path}: {name} changes a Session's context: the Task needs a sessionRef"
    return None
