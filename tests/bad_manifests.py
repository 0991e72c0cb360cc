"""Bad manifests, each with the answer its author must get: which field, and in which words.

``Admission``: the API server refuses it at once. ``Condition``: only the operator can know; the object is stored and
its status says so, with reason InvalidSpec.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml


class Seen(StrEnum):
    ADMISSION = "Admission"
    CONDITION = "Condition"


@dataclass(frozen=True)
class BadManifest:
    """A manifest and its answer.

    Attributes:
        what: is wrong with it.
        manifest: its YAML, without apiVersion.
        field: path of the field the answer names.
        words: that the answer has.
        seen: where the answer comes from.
        first: the YAML of the object that exists already, if this one is a change of it.
    """

    what: str
    manifest: str
    field: str
    words: tuple[str, ...]
    seen: Seen = Seen.ADMISSION
    first: str | None = None

    def __str__(self) -> str:
        return self.what

    def load(self) -> dict[str, Any]:
        """The manifest, complete."""
        return _load(self.manifest)

    def load_first(self) -> dict[str, Any] | None:
        """What exists before it, complete."""
        return None if self.first is None else _load(self.first)


def _load(text: str) -> dict[str, Any]:
    manifest = _as_kubectl(yaml.safe_load(text))
    return {"apiVersion": "parley.dev/v1alpha1", **manifest}


def _as_kubectl(value: Any) -> Any:
    """Keys that YAML reads as booleans become strings, as kubectl makes JSON of them."""
    if isinstance(value, dict):
        words = {True: "true", False: "false"}
        return {
            words.get(key, key) if isinstance(key, bool) else key: _as_kubectl(v) for key, v in value.items()
        }
    return [_as_kubectl(item) for item in value] if isinstance(value, list) else value


def _task(spec: str, name: str = "t") -> str:
    lines = "\n".join(f"  {line}" for line in spec.strip("\n").splitlines())
    return f"kind: Task\nmetadata: {{name: {name}}}\nspec:\n{lines}\n"


def _container(field: str) -> str:
    return _task(f"steps:\n- name: run\n  container:\n    image: i\n    {field}\n")


def _argument(template: str, spec: str = "inputs: {order: '1'}") -> str:
    """A Task of three steps; the template is the second one's argument."""
    return _task(
        f"{spec}\n"
        "steps:\n"
        "- {name: look-up, container: {image: i}}\n"
        f"- name: score\n  container:\n    image: i\n    args:\n    - |-\n      {template}\n"
        "- {name: pay, container: {image: i}}\n"
    )


def _schema(schema: str) -> str:
    return _task(
        f"agentRef: {{name: a}}\nsteps:\n- name: ask\n  prompt: {{text: '?', outputSchema: {schema}}}\n"
    )


_AGENT = "kind: Agent\nmetadata: {{name: a}}\nspec: {{model: {{provider: OpenAI, name: m}}, {0}}}"
_SESSION = "kind: Session\nmetadata: {{name: s}}\nspec: {{agentRef: {{name: a}}, {0}}}"
_RUN = "steps: [{name: run, container: {image: i}}]"
_ARGUMENT = "spec.steps[1].container.args[0]"
_OUTPUT_SCHEMA = "spec.steps[0].prompt.outputSchema"

REFUSED = [
    BadManifest(
        "a misspelt field",
        _task("agentRef: {name: a}\nmesage: hi"),
        "spec.mesage",
        ("strict decoding error", "unknown field"),
    ),
    BadManifest(
        "a misspelt field deep inside",
        _container("imagePullpolicy: Always"),
        "spec.steps[0].container.imagePullpolicy",
        ("unknown field",),
    ),
    BadManifest(
        "a step kind that does not exist",
        _task("steps: [{name: w, wait: {question: ok}}]"),
        "spec.steps[0].wait",
        ("unknown field",),
    ),
    BadManifest(
        "two kinds in one step",
        _task("agentRef: {name: a}\nsteps: [{name: both, prompt: {text: x}, container: {image: i}}]"),
        "spec.steps[0]",
        ("exactly one of prompt and container",),
    ),
    BadManifest(
        "a step of no kind",
        _task("steps: [{name: run, container: {image: i}}, {name: none}]"),
        "spec.steps[1]",
        ("exactly one of prompt and container",),
    ),
    BadManifest(
        "a message beside steps",
        _task(f"agentRef: {{name: a}}\nmessage: hi\n{_RUN}"),
        "spec",
        ("exactly one of message and steps",),
    ),
    BadManifest("nothing to do", _task("agentRef: {name: a}"), "spec", ("exactly one of message and steps",)),
    BadManifest(
        "a session and an agent",
        _task("sessionRef: {name: s}\nagentRef: {name: a}\nmessage: hi"),
        "spec.agentRef",
        ("not both",),
    ),
    BadManifest("a message to nobody", _task("message: hi"), "spec.message", ("needs a sessionRef or an agentRef",)),
    BadManifest(
        "a prompt to nobody",
        _task("steps: [{name: ask, prompt: {text: x}}]"),
        "spec.steps",
        ("a prompt step needs", "sessionRef or agentRef"),
    ),
    BadManifest(
        "the history of no session",
        _task("agentRef: {name: a}\nsteps: [{name: ask, prompt: {text: x, history: Session}}]"),
        "spec.steps",
        ("history: Session needs the Task's sessionRef",),
    ),
    BadManifest(
        "a prompt with text and messages",
        _task(
            "agentRef: {name: a}\n"
            "steps: [{name: ask, prompt: {text: x, messages: [{role: user, content: y}]}}]"
        ),
        "spec.steps[0].prompt",
        ("exactly one of text and messages",),
    ),
    BadManifest(
        "a role that does not exist",
        _task("agentRef: {name: a}\nsteps: [{name: ask, prompt: {messages: [{role: system, content: y}]}}]"),
        "spec.steps[0].prompt.messages[0].role",
        ("Unsupported value", "user", "assistant"),
    ),
    BadManifest(
        "a desired state that does not exist",
        _task(f"{_RUN}\ndesiredState: Stop"),
        "spec.desiredState",
        ("Unsupported value", "Running", "Suspended", "Cancelled"),
    ),
    BadManifest(
        "two steps of one name",
        _task("steps: [{name: run, container: {image: i}}, {name: run, container: {image: j}}]"),
        "spec.steps[1]",
        ("Duplicate value",),
    ),
    BadManifest(
        "a step name with an underscore",
        _task("steps: [{name: look_up, container: {image: i}}]"),
        "spec.steps[0].name",
        ("should match", "a-z0-9"),
    ),
    BadManifest(
        "too many steps",
        _task("steps:\n" + "\n".join(f"- {{name: s{n}, container: {{image: i}}}}" for n in range(65))),
        "spec.steps",
        ("Too many", "at most 64"),
    ),
    BadManifest(
        "a task name that leaves no room for its Jobs",
        _task(_RUN, name="a" * 53),
        "metadata.name",
        ("DNS label of at most 52 characters",),
    ),
    BadManifest("a task name with a dot", _task(_RUN, name="a.b"), "metadata.name", ("DNS label",)),
    BadManifest("an argument that YAML reads as a number", _container("args: [5]"),
                "spec.steps[0].container.args[0]", ("must be of type string", "integer")),
    BadManifest("a reserved variable", _container("env: [{name: PARLEY_TOKEN, value: x}]"),
                "spec.steps[0].container.env[0].name", ("PARLEY_ are reserved",)),
    BadManifest(
        "a variable with a value and a source",
        _container("env: [{name: A, value: x, valueFrom: {secretKeyRef: {name: s, key: k}}}]"),
        "spec.steps[0].container.env[0]",
        ("exactly one of value and valueFrom",),
    ),
    BadManifest("a variable from nowhere", _container("env: [{name: A, valueFrom: {}}]"),
                "spec.steps[0].container.env[0].valueFrom", ("exactly one of secretKeyRef and configMapKeyRef",)),
    BadManifest("an amount of memory in words", _container("resources: {limits: {memory: 256 megabytes}}"),
                "spec.steps[0].container.resources.limits.memory", ("should match",)),
    BadManifest(
        "an image that is a template",
        _task("steps: [{name: run, container: {image: '{{ inputs.image }}'}}]"),
        "spec.steps[0].container.image",
        ("should match",),
    ),
    BadManifest("a timeout without a unit", _task(f"{_RUN}\ntimeout: '5'"), "spec.timeout", ("should match",)),
    BadManifest("a timeout in days", _task(f"{_RUN}\ntimeout: 2d"), "spec.timeout", ("should match", "h|m|s|ms")),
    BadManifest("a timeout of nothing", _task("steps: [{name: run, timeout: 0s, container: {image: i}}]"),
                "spec.steps[0].timeout", ("must be longer than zero",)),
    BadManifest("a message that says nothing", _task("agentRef: {name: a}\nmessage: ''"), "spec.message",
                ("at least 1",)),
    BadManifest("a message without end", _task(f"agentRef: {{name: a}}\nmessage: {'x' * 32_769}"), "spec.message",
                ("Too long", "32768")),
    BadManifest("an output that is a text", _task(f"{_RUN}\noutput: '{{{{ steps.run.output }}}}'"), "spec.output",
                ("must be of type object",)),
    BadManifest("no spec", "kind: Task\nmetadata: {name: t}\n", "spec", ("Required value",)),
    BadManifest("an agent without a model", "kind: Agent\nmetadata: {name: a}\nspec: {}", "spec.model",
                ("Required value",)),
    BadManifest("a provider nobody knows",
                "kind: Agent\nmetadata: {name: a}\nspec: {model: {provider: openai, name: m}}",
                "spec.model.provider", ("Unsupported value", "OpenAI")),
    BadManifest(
        "a temperature that is a number",
        "kind: Agent\nmetadata: {name: a}\nspec: {model: {provider: OpenAI, name: m, temperature: 0.2}}",
        "spec.model.temperature",
        ("must be of type string",),
    ),
    BadManifest(
        "a base URL without its scheme",
        "kind: Agent\nmetadata: {name: a}\nspec: {model: {provider: OpenAI, name: m, baseURL: model.default/v1}}",
        "spec.model.baseURL",
        ("should match", "https?"),
    ),
    BadManifest("a session without an agent", "kind: Session\nmetadata: {name: s}\nspec: {situation: x}",
                "spec.agentRef", ("Required value",)),
    BadManifest("a window of no messages", _SESSION.format("limits: {contextWindow: 0}"),
                "spec.limits.contextWindow", ("greater than or equal to 1",)),
    BadManifest("a word that YAML reads as a boolean", _SESSION.format("statusText: no"), "spec.statusText",
                ("must be of type string", "boolean")),
    BadManifest("metadata that is no text", _SESSION.format("metadata: {number: 5}"), "spec.metadata.number",
                ("must be of type string",)),
    BadManifest(
        "other inputs for a task that exists",
        _task(f"inputs: {{order: '2'}}\n{_RUN}", name="inputs"),
        "spec.inputs",
        ("immutable", "delete the Task and create it again", "Flux", "Argo CD"),
        first=_task(f"inputs: {{order: '1'}}\n{_RUN}", name="inputs"),
    ),
    BadManifest(
        "one more step for a task that exists",
        _task("steps: [{name: run, container: {image: i}}, {name: more, container: {image: i}}]", name="steps"),
        "spec.steps",
        ("immutable", "delete the Task and create it again"),
        first=_task(_RUN, name="steps"),
    ),
    BadManifest(
        "a timeout taken from a task that exists",
        _task(_RUN, name="timeout"),
        "spec.timeout",
        ("immutable",),
        first=_task(f"{_RUN}\ntimeout: 1h", name="timeout"),
    ),
    BadManifest(
        "a cancelled task set going again",
        _task(f"{_RUN}\ndesiredState: Running", name="cancelled"),
        "spec.desiredState",
        ("Cancelled is final", "delete the Task"),
        first=_task(f"{_RUN}\ndesiredState: Cancelled", name="cancelled"),
    ),
    BadManifest(
        "another agent for a session that exists",
        "kind: Session\nmetadata: {name: moved}\nspec: {agentRef: {name: other}}",
        "spec.agentRef",
        ("immutable", "delete the Session and create it again"),
        first="kind: Session\nmetadata: {name: moved}\nspec: {agentRef: {name: a}}",
    ),
]  # fmt: skip

_CONDITION = [
    ("a template that does not end", _argument("{{ inputs.order"), _ARGUMENT, ("unexpected end of template",)),
    ("a template that is none", _argument("{{ inputs order }}"), _ARGUMENT, ("expected token", "'order'")),
    ("an unknown filter", _argument("{{ inputs.order|shout }}"), _ARGUMENT, ("there is no filter 'shout'",)),
    ("an unknown name", _argument("{{ input.order }}"), _ARGUMENT, ("'input' is not defined", "knows inputs")),
    ("an input that is not given", _argument("{{ inputs.ordr }}"), _ARGUMENT,
     ("inputs.ordr is not defined", "spec.inputs has order")),
    ("the output of a step that does not exist", _argument("{{ steps.lookup.output }}"), _ARGUMENT,
     ("steps.lookup does not exist", "look_up")),
    ("the output of a later step", _argument("{{ steps.pay.output }}"), _ARGUMENT,
     ("steps.pay has no output yet", "written above")),
    ("a step name with its hyphen", _argument("{{ steps['look-up'].output }}"), _ARGUMENT,
     ("write steps.look_up", "underscores")),
    ("a step's result in place of its output", _argument("{{ steps.look_up.amount }}"), _ARGUMENT,
     ("write steps.look_up.output.amount",)),
    ("the user of no session", _argument("{{ session.user.name }}"), _ARGUMENT, ("the Task has no sessionRef",)),
    ("another template", _argument("{% include 'x' %}"), _ARGUMENT, ("cannot use other templates",)),
    ("a mistake in the third line",
     _task("steps:\n- name: run\n  container:\n    image: i\n    command:\n    - |\n      a\n      b\n      {% if %}"),
     "spec.steps[0].container.command[0]", ("line 3",)),
    ("a bad template in a variable", _container("env: [{name: A, value: '{{ 1 + }}'}]"),
     "spec.steps[0].container.env[0].value", ("expected",)),
    ("a bad template in a prompt",
     _task("agentRef: {name: a}\nsteps: [{name: ask, prompt: {text: '{{ steps.none.output }}'}}]"),
     "spec.steps[0].prompt.text", ("steps.none does not exist",)),
    ("a bad template in a message of a prompt",
     _task("agentRef: {name: a}\n"
           "steps: [{name: ask, prompt: {messages: [{role: user, content: '{{ nobody }}'}]}}]"),
     "spec.steps[0].prompt.messages[0].content", ("'nobody' is not defined",)),
    ("a bad template in the output", _task(f"{_RUN}\noutput: {{paid: ['{{{{ steps.pay.output }}}}']}}"),
     "spec.output.paid[0]", ("steps.pay does not exist",)),
    ("instructions that are no template", _AGENT.format("instructions: '{% for %}'"), "spec.instructions",
     ("Expected",)),
    ("a system template that is none", _SESSION.format("systemTemplate: '{{ a|nope }}'"), "spec.systemTemplate",
     ("there is no filter 'nope'",)),
    ("an input called yes", _task(f"inputs: {{answers: {{yes: 1}}}}\n{_RUN}"), "spec.inputs.answers.true",
     ("quote y, n, yes, no, on, off",)),
    ("a value of the context called off", _SESSION.format("context: {off: 1}"), "spec.context.false",
     ("quote y, n, yes, no, on, off",)),
    ("a required property called yes", _schema("{type: object, required: [name, yes]}"),
     f"{_OUTPUT_SCHEMA}.required[1]", ("is no string", "quote y, n, yes, no, on, off")),
    ("a choice called no", _schema("{type: string, enum: [maybe, no]}"), f"{_OUTPUT_SCHEMA}.enum[1]",
     ("is no string", "quote y, n, yes, no, on, off")),
    ("a schema of a type that does not exist", _schema("{type: object, properties: {a: {type: text}}}"),
     f"{_OUTPUT_SCHEMA}.properties.a.type", ('"text" is no type of JSON', "string")),
    ("a schema with a pattern that is none", _schema("{type: string, pattern: '('}"), f"{_OUTPUT_SCHEMA}.pattern",
     ("regex",)),
    ("a schema with properties in a list", _schema("{type: object, properties: [a]}"),
     f"{_OUTPUT_SCHEMA}.properties", ("is not of type 'object'",)),
    ("a schema that refers to the network", _schema("{$ref: 'https://example.com/s.json'}"),
     f"{_OUTPUT_SCHEMA}.$ref", ("another document", "$defs")),
    ("a schema that refers to nothing", _schema("{$ref: '#/$defs/none'}"), f"{_OUTPUT_SCHEMA}.$ref",
     ("does not exist in this schema",)),
    ("inputs without a bottom", _task(f"inputs: {'{a: ' * 80}1{'}' * 80}\n{_RUN}"), "spec.inputs",
     ("nested deeper than 64 levels",)),
]  # fmt: skip

STORED = [
    BadManifest(what, manifest, field, words, Seen.CONDITION) for what, manifest, field, words in _CONDITION
]
BAD_MANIFESTS = [*REFUSED, *STORED]
