"""Each CEL rule of the CRDs, with a manifest that it lets in and one that it refuses; those of steps' flow have
their own module."""

from dataclasses import dataclass
from typing import Any

RUN = {"name": "run", "container": {"image": "i"}}
ASK = {"name": "ask", "prompt": {"text": "?"}}
CALL = {"name": "call", "tool": {"name": "get_order"}}
AGENT = {"agentRef": {"name": "a"}}
SESSION = {"sessionRef": {"name": "s"}}


def task(name: str = "t", **spec: Any) -> dict[str, Any]:
    return {"kind": "Task", "metadata": {"name": name}, "spec": spec}


def running(**container: Any) -> dict[str, Any]:
    return task(steps=[{"name": "run", "container": {"image": "i", **container}}])


def env(**variable: Any) -> dict[str, Any]:
    return running(env=[{"name": "A", **variable}])


def agent(provider: str, **model: Any) -> dict[str, Any]:
    return {
        "kind": "Agent",
        "metadata": {"name": "a"},
        "spec": {"model": {"provider": provider, "name": "m", **model}},
    }


def falling_back(**fallback: Any) -> dict[str, Any]:
    return agent("OpenAI", fallbacks=[{"provider": "Google", "name": "g"}, {"name": "m", **fallback}])


@dataclass(frozen=True)
class Rule:
    """A CEL rule with a manifest it lets in and one it refuses, at a field; both follow ``first``, if given."""

    message: str
    good: dict[str, Any]
    bad: dict[str, Any]
    field: str
    first: dict[str, Any] | None = None


SECRET = {"secretKeyRef": {"name": "s", "key": "k"}}
CONFIG = {"configMapKeyRef": {"name": "c", "key": "k"}}
WHOLE = {
    **SESSION,
    **AGENT,
    "user": "u",
    "inputs": {"a": {"deep": [1, None]}},
    "steps": [RUN],
    "output": {"x": {"deep": ["{{ 1 }}"]}},
    "timeout": "1h",
}
CHANGES: dict[str, Any] = {
    "sessionRef": {"name": "other"},
    "agentRef": {"name": "other"},
    "user": "other",
    "inputs": {"a": {"deep": [1, 2]}},
    "steps": [{"name": "run", "container": {"image": "other"}}],
    "output": {"x": {"deep": ["{{ 2 }}"]}},
    "timeout": "2h",
}

RULES = [
    Rule("a Task has exactly one of message, steps", task(**AGENT, message="m"), task(**AGENT), "spec"),
    Rule("a Task has exactly one of message", task(steps=[RUN]), task(**AGENT, message="m", steps=[RUN]), "spec"),
    Rule("user needs sessionRef", task(**SESSION, **AGENT, user="u", message="m"), task(**AGENT, user="u", message="m"),
         "spec.user"),
    Rule("a message needs a sessionRef or an agentRef", task(**AGENT, message="m"), task(message="m"), "spec.message"),
    Rule("a prompt step needs the Task's", task(**AGENT, steps=[RUN, ASK]), task(steps=[RUN, ASK]), "spec.steps"),
    Rule("a tool step needs the Task's", task(**AGENT, steps=[CALL]), task(steps=[RUN, CALL]), "spec.steps"),
    Rule(
        "history: Session needs the Task's sessionRef",
        task(**SESSION, steps=[{"name": "ask", "prompt": {"text": "?", "history": "Session"}}]),
        task(**AGENT, steps=[{"name": "ask", "prompt": {"text": "?", "history": "Session"}}]),
        "spec.steps",
    ),
    *(
        Rule(f"{field} is immutable: delete the Task", task(**WHOLE), task(**{**WHOLE, field: value}), f"spec.{field}",
             first=task(**WHOLE))
        for field, value in CHANGES.items()
    ),
    *(
        Rule(
            f"{field} is immutable: delete the Task",
            task(**WHOLE),
            task(**{key: value for key, value in WHOLE.items() if key != field}),
            f"spec.{field}",
            first=task(**WHOLE),
        )
        for field in ("sessionRef", "inputs", "output", "timeout")
    ),
    Rule(
        "agentRef is immutable: delete the Task",
        task(**AGENT, steps=[RUN]),
        task(agentRef={"name": "other"}, steps=[RUN]),
        "spec.agentRef",
        first=task(**AGENT, steps=[RUN]),
    ),
    Rule(
        "message is immutable: delete the Task",
        task(**AGENT, message="m"),
        task(**AGENT, message="other"),
        "spec.message",
        first=task(**AGENT, message="m"),
    ),
    Rule(
        "Cancelled is final",
        task(steps=[RUN], desiredState="Cancelled"),
        task(steps=[RUN], desiredState="Running"),
        "spec.desiredState",
        first=task(steps=[RUN], desiredState="Cancelled"),
    ),
    Rule(
        "a step has exactly one of prompt, tool, container, wait",
        task(**AGENT, steps=[ASK]),
        task(**AGENT, steps=[{**RUN, **ASK}]),
        "spec.steps[0]",
    ),
    Rule("a step has exactly one of", task(steps=[RUN]), task(steps=[RUN, {"name": "none"}]), "spec.steps[1]"),
    Rule(
        "a prompt has exactly one of text and messages",
        task(**AGENT, steps=[{"name": "ask", "prompt": {"messages": [{"role": "user", "content": "?"}]}}]),
        task(
            **AGENT,
            steps=[{"name": "ask", "prompt": {"text": "?", "messages": [{"role": "user", "content": "?"}]}}],
        ),
        "spec.steps[0].prompt",
    ),
    Rule(
        "a prompt has exactly one of text",
        task(**AGENT, steps=[ASK]),
        task(**AGENT, steps=[{"name": "ask", "prompt": {}}]),
        "spec.steps[0].prompt",
    ),
    Rule(
        "a variable has exactly one of value and valueFrom",
        env(value=""),
        env(value="v", valueFrom=SECRET),
        "spec.steps[0].container.env[0]",
    ),
    Rule("a variable has exactly one of", env(valueFrom=SECRET), env(), "spec.steps[0].container.env[0]"),
    Rule(
        "valueFrom has exactly one of secretKeyRef and configMapKeyRef",
        env(valueFrom=CONFIG),
        env(valueFrom={**SECRET, **CONFIG}),
        "spec.steps[0].container.env[0].valueFrom",
    ),
    Rule("valueFrom has exactly one", env(valueFrom=SECRET), env(valueFrom={}),
         "spec.steps[0].container.env[0].valueFrom"),
    Rule(
        "names that begin with PARLEY_ are reserved",
        env(name="PARLEY", value="v"),
        env(name="PARLEY_TOKEN", value="v"),
        "spec.steps[0].container.env[0].name",
    ),
    Rule("must be longer than zero", task(steps=[RUN], timeout="1ms"), task(steps=[RUN], timeout="0h0s"),
         "spec.timeout"),
    Rule("must be longer than zero", task(steps=[{**RUN, "timeout": "90s"}]),
         task(steps=[{**RUN, "timeout": "0s"}]), "spec.steps[0].timeout"),
    Rule("metadata.name must be a DNS label of at most 52", task("a" * 52, steps=[RUN]),
         task("a" * 53, steps=[RUN]), "metadata.name"),
    Rule("metadata.name must be a DNS label", task("a-1", steps=[RUN]), task("a.b", steps=[RUN]), "metadata.name"),
    Rule("Anthropic's API takes no seed", agent("Google", seed=1), agent("Anthropic", seed=1), "spec.model.seed"),
    Rule("Anthropic's API takes no seed", falling_back(provider="OpenAI", seed=1),
         falling_back(provider="Anthropic", seed=1), "spec.model.fallbacks[1].seed"),
    Rule("Anthropic's API takes a temperature of at most 1", agent("OpenAI", temperature="1.5"),
         agent("Anthropic", temperature="1.5"), "spec.model.temperature"),
    Rule("Anthropic's API takes a temperature", agent("Anthropic", temperature="1.0"),
         agent("Anthropic", temperature="2"), "spec.model.temperature"),
    Rule("Anthropic's API takes a temperature", falling_back(provider="Anthropic", temperature="0.5"),
         falling_back(provider="Anthropic", temperature="1.01"), "spec.model.fallbacks[1].temperature"),
]  # fmt: skip
