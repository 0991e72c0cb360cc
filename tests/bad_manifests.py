"""Bad manifests, each with the answer its author must get: which field, and in which words.

Those of flows (branches, items, waits, children), TaskTemplates, Schedules and Replies have their own module, and so
have those of tools and of Sessions.
"""

from tests.bad_flow_manifests import FLOW_REFUSED, FLOW_STORED
from tests.bad_manifest import BadManifest, Seen, argument, container, schema, task
from tests.bad_session_manifests import SESSION_REFUSED, SESSION_STORED
from tests.bad_tool_manifests import TOOL_REFUSED, TOOL_STORED

__all__ = ["BAD_MANIFESTS", "REFUSED", "STORED", "BadManifest", "Seen"]

_AGENT = "kind: Agent\nmetadata: {{name: a}}\nspec: {{model: {{provider: OpenAI, name: m}}, {0}}}"
_MODEL = "kind: Agent\nmetadata: {{name: a}}\nspec: {{model: {{provider: {0}, name: m, {1}}}}}"
_model = _MODEL.format
_SESSION = "kind: Session\nmetadata: {{name: s}}\nspec: {{agentRef: {{name: a}}, {0}}}"
_RUN = "steps: [{name: run, container: {image: i}}]"
_ARGUMENT = "spec.steps[1].container.args[0]"
_OUTPUT_SCHEMA = "spec.steps[0].prompt.outputSchema"

REFUSED = [
    BadManifest(
        "a misspelt field",
        task("agentRef: {name: a}\nmesage: hi"),
        "spec.mesage",
        ("strict decoding error", "unknown field"),
    ),
    BadManifest(
        "a misspelt field deep inside",
        container("imagePullpolicy: Always"),
        "spec.steps[0].container.imagePullpolicy",
        ("unknown field",),
    ),
    BadManifest(
        "a step kind that does not exist",
        task("steps: [{name: w, dream: {of: sheep}}]"),
        "spec.steps[0].dream",
        ("unknown field",),
    ),
    BadManifest(
        "two kinds in one step",
        task("agentRef: {name: a}\nsteps: [{name: both, prompt: {text: x}, container: {image: i}}]"),
        "spec.steps[0]",
        ("exactly one of prompt, tool, container, wait",),
    ),
    BadManifest(
        "a step of no kind",
        task("steps: [{name: run, container: {image: i}}, {name: none}]"),
        "spec.steps[1]",
        ("exactly one of prompt, tool, container, wait",),
    ),
    BadManifest(
        "a message beside steps",
        task(f"agentRef: {{name: a}}\nmessage: hi\n{_RUN}"),
        "spec",
        ("exactly one of message, steps and templateRef",),
    ),
    BadManifest("nothing to do", task("agentRef: {name: a}"), "spec", ("exactly one of message, steps and templateRef",)),
    BadManifest("a user of no session", task("agentRef: {name: a}\nuser: u\nmessage: hi"), "spec.user",
                ("user needs sessionRef",)),
    BadManifest("a tool of nobody", task("steps: [{name: call, tool: {name: get_order}}]"), "spec.steps",
                ("a tool step needs", "sessionRef or agentRef")),
    BadManifest("a message to nobody", task("message: hi"), "spec.message", ("needs a sessionRef or an agentRef",)),
    BadManifest(
        "a prompt to nobody",
        task("steps: [{name: ask, prompt: {text: x}}]"),
        "spec.steps",
        ("a prompt step needs", "sessionRef or agentRef"),
    ),
    BadManifest(
        "the history of no session",
        task("agentRef: {name: a}\nsteps: [{name: ask, prompt: {text: x, history: Session}}]"),
        "spec.steps",
        ("history: Session needs the Task's sessionRef",),
    ),
    BadManifest(
        "a prompt with text and messages",
        task(
            "agentRef: {name: a}\n"
            "steps: [{name: ask, prompt: {text: x, messages: [{role: user, content: y}]}}]"
        ),
        "spec.steps[0].prompt",
        ("exactly one of text and messages",),
    ),
    BadManifest(
        "a role that does not exist",
        task("agentRef: {name: a}\nsteps: [{name: ask, prompt: {messages: [{role: system, content: y}]}}]"),
        "spec.steps[0].prompt.messages[0].role",
        ("Unsupported value", "user", "assistant"),
    ),
    BadManifest(
        "a desired state that does not exist",
        task(f"{_RUN}\ndesiredState: Stop"),
        "spec.desiredState",
        ("Unsupported value", "Running", "Suspended", "Cancelled"),
    ),
    BadManifest(
        "two steps of one name",
        task("steps: [{name: run, container: {image: i}}, {name: run, container: {image: j}}]"),
        "spec.steps[1]",
        ("Duplicate value",),
    ),
    BadManifest(
        "a step name with an underscore",
        task("steps: [{name: look_up, container: {image: i}}]"),
        "spec.steps[0].name",
        ("should match", "a-z0-9"),
    ),
    BadManifest(
        "too many steps",
        task("steps:\n" + "\n".join(f"- {{name: s{n}, container: {{image: i}}}}" for n in range(65))),
        "spec.steps",
        ("Too many", "at most 64"),
    ),
    BadManifest(
        "a task name that leaves no room for its Jobs",
        task(_RUN, name="a" * 53),
        "metadata.name",
        ("DNS label of at most 52 characters",),
    ),
    BadManifest("a task name with a dot", task(_RUN, name="a.b"), "metadata.name", ("DNS label",)),
    BadManifest("an argument that YAML reads as a number", container("args: [5]"),
                "spec.steps[0].container.args[0]", ("must be of type string", "integer")),
    BadManifest("a reserved variable", container("env: [{name: PARLEY_TOKEN, value: x}]"),
                "spec.steps[0].container.env[0].name", ("PARLEY_ are reserved",)),
    BadManifest(
        "a variable with a value and a source",
        container("env: [{name: A, value: x, valueFrom: {secretKeyRef: {name: s, key: k}}}]"),
        "spec.steps[0].container.env[0]",
        ("exactly one of value and valueFrom",),
    ),
    BadManifest("a variable from nowhere", container("env: [{name: A, valueFrom: {}}]"),
                "spec.steps[0].container.env[0].valueFrom", ("exactly one of secretKeyRef and configMapKeyRef",)),
    BadManifest("an amount of memory in words", container("resources: {limits: {memory: 256 megabytes}}"),
                "spec.steps[0].container.resources.limits.memory", ("should match",)),
    BadManifest(
        "an image that is a template",
        task("steps: [{name: run, container: {image: '{{ inputs.image }}'}}]"),
        "spec.steps[0].container.image",
        ("should match",),
    ),
    BadManifest("a timeout without a unit", task(f"{_RUN}\ntimeout: '5'"), "spec.timeout", ("should match",)),
    BadManifest("a timeout in days", task(f"{_RUN}\ntimeout: 2d"), "spec.timeout", ("should match", "h|m|s|ms")),
    BadManifest("a timeout of nothing", task("steps: [{name: run, timeout: 0s, container: {image: i}}]"),
                "spec.steps[0].timeout", ("must be longer than zero",)),
    BadManifest("a message that says nothing", task("agentRef: {name: a}\nmessage: ''"), "spec.message",
                ("at least 1",)),
    BadManifest("a message without end", task(f"agentRef: {{name: a}}\nmessage: {'x' * 32_769}"), "spec.message",
                ("Too long", "32768")),
    BadManifest("an output that is a text", task(f"{_RUN}\noutput: '{{{{ steps.run.output }}}}'"), "spec.output",
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
    BadManifest("a temperature above two", _model("OpenAI", "temperature: '2.5'"), "spec.model.temperature",
                ("should match",)),
    BadManifest("a probability above one", _model("Google", "topP: '1.5'"), "spec.model.topP", ("should match",)),
    BadManifest("a hot Claude", _model("Anthropic", "temperature: '1.5'"), "spec.model.temperature",
                ("Anthropic's API takes a temperature of at most 1",)),
    BadManifest("a seed for Claude", _model("Anthropic", "seed: 7"), "spec.model.seed",
                ("Anthropic's API takes no seed", "leave it out")),
    BadManifest("too many stop sequences", _model("OpenAI", "stopSequences: [a, b, c, d, e]"),
                "spec.model.stopSequences", ("Too many", "4")),
    BadManifest("a fallback without a name", _model("OpenAI", "fallbacks: [{provider: Google}]"),
                "spec.model.fallbacks[0].name", ("Required value",)),
    BadManifest("a seed for a fallback that takes none",
                _model("OpenAI", "fallbacks: [{provider: Anthropic, name: m, seed: 7}]"),
                "spec.model.fallbacks[0].seed", ("Anthropic's API takes no seed",)),
    BadManifest(
        "a base URL without its scheme",
        "kind: Agent\nmetadata: {name: a}\nspec: {model: {provider: OpenAI, name: m, baseURL: model.default/v1}}",
        "spec.model.baseURL",
        ("should match", "https?"),
    ),
    BadManifest("a window of no messages", _SESSION.format("limits: {contextWindow: 0}"),
                "spec.limits.contextWindow", ("greater than or equal to 1",)),
    BadManifest("a word that YAML reads as a boolean", _SESSION.format("statusText: no"), "spec.statusText",
                ("must be of type string", "boolean")),
    BadManifest("metadata that is no text", _SESSION.format("metadata: {number: 5}"), "spec.metadata.number",
                ("must be of type string",)),
    BadManifest(
        "other inputs for a task that exists",
        task(f"inputs: {{order: '2'}}\n{_RUN}", name="inputs"),
        "spec.inputs",
        ("immutable", "delete the Task and create it again", "Flux", "Argo CD"),
        first=task(f"inputs: {{order: '1'}}\n{_RUN}", name="inputs"),
    ),
    BadManifest(
        "one more step for a task that exists",
        task("steps: [{name: run, container: {image: i}}, {name: more, container: {image: i}}]", name="steps"),
        "spec.steps",
        ("immutable", "delete the Task and create it again"),
        first=task(_RUN, name="steps"),
    ),
    BadManifest(
        "a timeout taken from a task that exists",
        task(_RUN, name="timeout"),
        "spec.timeout",
        ("immutable",),
        first=task(f"{_RUN}\ntimeout: 1h", name="timeout"),
    ),
    BadManifest(
        "a cancelled task set going again",
        task(f"{_RUN}\ndesiredState: Running", name="cancelled"),
        "spec.desiredState",
        ("Cancelled is final", "delete the Task"),
        first=task(f"{_RUN}\ndesiredState: Cancelled", name="cancelled"),
    ),
]  # fmt: skip

_CONDITION = [
    ("a template that does not end", argument("{{ inputs.order"), _ARGUMENT, ("unexpected end of template",)),
    ("a template that is none", argument("{{ inputs order }}"), _ARGUMENT, ("expected token", "'order'")),
    ("an unknown filter", argument("{{ inputs.order|shout }}"), _ARGUMENT, ("there is no filter 'shout'",)),
    ("an unknown name", argument("{{ input.order }}"), _ARGUMENT, ("'input' is not defined", "knows inputs")),
    ("an input that is not given", argument("{{ inputs.ordr }}"), _ARGUMENT,
     ("inputs.ordr is not defined", "spec.inputs has order")),
    ("the output of a step that does not exist", argument("{{ steps.lookup.output }}"), _ARGUMENT,
     ("steps.lookup does not exist", "look_up")),
    ("the output of a later step", argument("{{ steps.pay.output }}"), _ARGUMENT,
     ("steps.pay has no output yet", "written above")),
    ("a step name with its hyphen", argument("{{ steps['look-up'].output }}"), _ARGUMENT,
     ("write steps.look_up", "underscores")),
    ("a step's result in place of its output", argument("{{ steps.look_up.amount }}"), _ARGUMENT,
     ("write steps.look_up.output.amount",)),
    ("the user of no session", argument("{{ session.user.name }}"), _ARGUMENT, ("the Task has no sessionRef",)),
    ("another template", argument("{% include 'x' %}"), _ARGUMENT, ("cannot use other templates",)),
    ("a mistake in the third line",
     task("steps:\n- name: run\n  container:\n    image: i\n    command:\n    - |\n      a\n      b\n      {% if %}"),
     "spec.steps[0].container.command[0]", ("line 3",)),
    ("a bad template in a variable", container("env: [{name: A, value: '{{ 1 + }}'}]"),
     "spec.steps[0].container.env[0].value", ("expected",)),
    ("a bad template in a prompt",
     task("agentRef: {name: a}\nsteps: [{name: ask, prompt: {text: '{{ steps.none.output }}'}}]"),
     "spec.steps[0].prompt.text", ("steps.none does not exist",)),
    ("a bad template in a message of a prompt",
     task("agentRef: {name: a}\n"
           "steps: [{name: ask, prompt: {messages: [{role: user, content: '{{ nobody }}'}]}}]"),
     "spec.steps[0].prompt.messages[0].content", ("'nobody' is not defined",)),
    ("a bad template in the output", task(f"{_RUN}\noutput: {{paid: ['{{{{ steps.pay.output }}}}']}}"),
     "spec.output.paid[0]", ("steps.pay does not exist",)),
    ("instructions that are no template", _AGENT.format("instructions: '{% for %}'"), "spec.instructions",
     ("Expected",)),
    ("an input called yes", task(f"inputs: {{answers: {{yes: 1}}}}\n{_RUN}"), "spec.inputs.answers.true",
     ("quote y, n, yes, no, on, off",)),
    ("a required property called yes", schema("{type: object, required: [name, yes]}"),
     f"{_OUTPUT_SCHEMA}.required[1]", ("is no string", "quote y, n, yes, no, on, off")),
    ("a choice called no", schema("{type: string, enum: [maybe, no]}"), f"{_OUTPUT_SCHEMA}.enum[1]",
     ("is no string", "quote y, n, yes, no, on, off")),
    ("a schema of a type that does not exist", schema("{type: object, properties: {a: {type: text}}}"),
     f"{_OUTPUT_SCHEMA}.properties.a.type", ('"text" is no type of JSON', "string")),
    ("a schema with a pattern that is none", schema("{type: string, pattern: '('}"), f"{_OUTPUT_SCHEMA}.pattern",
     ("regex",)),
    ("a schema with properties in a list", schema("{type: object, properties: [a]}"),
     f"{_OUTPUT_SCHEMA}.properties", ("is not of type 'object'",)),
    ("a schema that refers to the network", schema("{$ref: 'https://example.com/s.json'}"),
     f"{_OUTPUT_SCHEMA}.$ref", ("another document", "$defs")),
    ("a schema that refers to nothing", schema("{$ref: '#/$defs/none'}"), f"{_OUTPUT_SCHEMA}.$ref",
     ("does not exist in this schema",)),
    ("inputs without a bottom", task(f"inputs: {'{a: ' * 80}1{'}' * 80}\n{_RUN}"), "spec.inputs",
     ("nested deeper than 64 levels",)),
]  # fmt: skip

STORED = [
    BadManifest(what, manifest, field, words, Seen.CONDITION) for what, manifest, field, words in _CONDITION
]
REFUSED += [*FLOW_REFUSED, *TOOL_REFUSED, *SESSION_REFUSED]
STORED += [*FLOW_STORED, *TOOL_STORED, *SESSION_STORED]
BAD_MANIFESTS = [*REFUSED, *STORED]
