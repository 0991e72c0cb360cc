"""Bad manifests of agents' tools, and of tool steps."""

from tests.bad_manifest import BadManifest, Seen, task


def _agent(fields: str) -> str:
    return f"kind: Agent\nmetadata: {{name: a}}\nspec: {{model: {{provider: OpenAI, name: m}}, {fields}}}\n"


def _tool(fields: str, name: str = "get_order") -> str:
    return _agent(f"tools: [{{name: {name}, {fields}}}]")


def _http(fields: str, more: str = "") -> str:
    return _tool(f"{more}http: {{{fields}}}")


def _call(fields: str) -> str:
    return task(f"agentRef: {{name: a}}\nsteps: [{{name: call, {fields}}}]")


_ORDERS = "url: 'http://orders/'"
_ANY = f"http: {{{_ORDERS}}}"
_ORDER = "parameters: {type: object, properties: {number: {type: string}}}, "
_T = "spec.tools[0]"

_REFUSED = [
    ("a tool of two kinds", _tool(f"{_ANY}, container: {{image: i}}"), _T,
     ("exactly one of http, mcp, container, task",)),
    ("a tool of no kind", _tool("description: Orders."), _T, ("exactly one of http, mcp, container, task",)),
    ("a tool of a kind nobody knows", _tool("grpc: {url: 'http://h'}"), f"{_T}.grpc", ("unknown field",)),
    ("a tool without a name", _agent(f"tools: [{{{_ANY}}}]"), f"{_T}.name", ("Required value",)),
    ("a tool with a name of two words", _tool(_ANY, "'get order'"), f"{_T}.name", ("should match",)),
    ("a tool with a name without end", _tool(_ANY, "a" * 49), f"{_T}.name", ("48",)),
    ("two tools of one name", _agent(f"tools: [{{name: a, {_ANY}}}, {{name: a, {_ANY}}}]"), "spec.tools[1]",
     ("Duplicate value",)),
    ("more tools than a model can know",
     _agent(f"tools: [{', '.join(f'{{name: t{n}, {_ANY}}}' for n in range(33))}]"), "spec.tools",
     ("must have at most 32 items",)),
    ("a host that the model chooses", _http("url: 'http://{{ arguments.host }}/'", _ORDER), f"{_T}.http.url",
     ("http:// or https:// and a host, both written out", "templates may stand only after")),
    ("a url that the model chooses", _http("url: '{{ arguments.url }}'"), f"{_T}.http.url", ("both written out",)),
    ("a password in a url", _http("url: 'http://alice:secret@orders/'"), f"{_T}.http.url", ("without a user name",)),
    ("a url of files", _http("url: 'file:///etc/passwd'"), f"{_T}.http.url", ("http:// or https://",)),
    ("a tool without its url", _tool("http: {method: GET}"), f"{_T}.http.url", ("Required value",)),
    ("a method nobody knows", _http(f"{_ORDERS}, method: FETCH"), f"{_T}.http.method", ("Unsupported value", "PATCH")),
    ("a request that may take an hour", _http(f"{_ORDERS}, timeout: 1h"), f"{_T}.http.timeout", ("at most 10m",)),
    ("a request that may take no time", _http(f"{_ORDERS}, timeout: 0s"), f"{_T}.http.timeout",
     ("longer than zero",)),
    ("a header with a value and a source",
     _http(f"{_ORDERS}, headers: [{{name: A, value: b, valueFrom: {{secretKeyRef: {{name: s, key: k}}}}}}]"),
     f"{_T}.http.headers[0]", ("exactly one of value and valueFrom",)),
    ("a header from nowhere", _http(f"{_ORDERS}, headers: [{{name: A}}]"), f"{_T}.http.headers[0]",
     ("exactly one of value and valueFrom",)),
    ("a header from a ConfigMap",
     _http(f"{_ORDERS}, headers: [{{name: A, valueFrom: {{configMapKeyRef: {{name: c, key: k}}}}}}]"),
     f"{_T}.http.headers[0].valueFrom.configMapKeyRef", ("unknown field",)),
    ("a header that is Parley's", _http(f"{_ORDERS}, headers: [{{name: host, value: evil}}]"),
     f"{_T}.http.headers[0].name", ("Parley sets the headers Host",)),
    ("a header with a space", _http(f"{_ORDERS}, headers: [{{name: 'X A', value: b}}]"),
     f"{_T}.http.headers[0].name", ("should match",)),
    ("an MCP server whose url is a template", _tool("mcp: {url: 'http://tickets/{{ arguments.team }}'}"),
     f"{_T}.mcp.url", ("it is no template",)),
    ("an MCP server's parameters", _tool("mcp: {url: 'http://t/mcp'}, parameters: {type: object}"),
     f"{_T}.parameters", ("an MCP server says its tools' parameters",)),
    ("a tool of an MCP server twice", _tool("mcp: {url: 'http://t/mcp', toolNames: [create, create]}"),
     f"{_T}.mcp.toolNames[1]", ("Duplicate value",)),
    ("none of an MCP server's tools", _tool("mcp: {url: 'http://t/mcp', toolNames: []}"), f"{_T}.mcp.toolNames",
     ("should have at least 1 items",)),
    ("a task tool of no template", _tool("task: {inputs: {a: 1}}"), f"{_T}.task.templateRef", ("Required value",)),
    ("what a task tool gives", _tool("task: {templateRef: {name: t}}, resultSchema: {type: object}"),
     f"{_T}.resultSchema", ("the result of a task tool is the Task's name",)),
    ("a reserved variable of a tool", _tool("container: {image: i, env: [{name: PARLEY_X, value: a}]}"),
     f"{_T}.container.env[0].name", ("reserved",)),
    ("an approval that YAML reads as a boolean", _tool(f"{_ANY}, approval: yes"), f"{_T}.approval",
     ("must be of type string", "boolean")),
    ("an approval nobody knows", _tool(f"{_ANY}, approval: Sometimes"), f"{_T}.approval",
     ("Unsupported value", "Required")),
    ("a time for an approval that nobody asks for", _tool(f"{_ANY}, approvalTimeout: 24h"), f"{_T}.approvalTimeout",
     ("needs approval: Required",)),
    ("an end of a wait without end", _tool(f"{_ANY}, approval: Required, onApprovalTimeout: Approve"),
     f"{_T}.onApprovalTimeout", ("needs approvalTimeout",)),
    ("parameters in a list", _tool(f"{_ANY}, parameters: [number]"), f"{_T}.parameters", ("must be of type object",)),
    ("a built-in tool nobody knows", _agent("builtinTools: [search_web]"), "spec.builtinTools[0]",
     ("Unsupported value", "update_context")),
    ("a tool called like a built-in one",
     _agent(f"builtinTools: [update_context], tools: [{{name: update_context, {_ANY}}}]"), "spec.tools",
     ("called like one of builtinTools",)),
    ("a tool called like those of an MCP server",
     _agent(f"tools: [{{name: tickets_create, {_ANY}}}, {{name: tickets, mcp: {{url: 'http://t/mcp'}}}}]"),
     "spec.tools", ("begins with that of an mcp tool and _", "rename one")),
    ("no rounds of tools", _agent("limits: {maxToolRounds: 0}"), "spec.limits.maxToolRounds",
     ("greater than or equal to 1",)),
    ("rounds of tools without end", _agent("limits: {maxToolRounds: 101}"), "spec.limits.maxToolRounds",
     ("less than or equal to 100",)),
    ("no tokens a day", _agent("limits: {tokensPerDay: 0}"), "spec.limits.tokensPerDay",
     ("greater than or equal to 1",)),
    ("a call of no tool", _call("tool: {arguments: {a: 1}}"), "spec.steps[0].tool.name", ("Required value",)),
    ("a call and a prompt in one step", _call("tool: {name: get_order}, prompt: {text: '?'}"), "spec.steps[0]",
     ("exactly one of prompt, tool, container",)),
    ("arguments in a text", _call("tool: {name: get_order, arguments: '12345'}"), "spec.steps[0].tool.arguments",
     ("must be of type object",)),
    ("calls that are run now and then", _call("prompt: {text: '?', autoRunTools: maybe}"),
     "spec.steps[0].prompt.autoRunTools", ("must be of type boolean",)),
]  # fmt: skip

TOOL_REFUSED = [BadManifest(what, manifest, field, words) for what, manifest, field, words in _REFUSED]

_CONDITION = [
    ("parameters of a type nobody knows",
     _tool(f"{_ANY}, parameters: {{type: object, properties: {{number: {{type: text}}}}}}"),
     f"{_T}.parameters.properties.number.type", ('"text" is no type of JSON', "string")),
    ("parameters that are no object", _tool(f"{_ANY}, parameters: {{type: string}}"), f"{_T}.parameters.type",
     ("must say type: object",)),
    ("parameters that do not say what they are", _tool(f"{_ANY}, parameters: {{properties: {{number: {{}}}}}}"),
     f"{_T}.parameters", ("must say type: object",)),
    ("a required argument called yes", _tool(f"{_ANY}, parameters: {{type: object, required: [yes]}}"),
     f"{_T}.parameters.required[0]", ("is no string", "quote y, n, yes, no, on, off")),
    ("a result's schema that refers to nothing", _tool(f"{_ANY}, resultSchema: {{$ref: '#/$defs/order'}}"),
     f"{_T}.resultSchema.$ref", ("does not exist in this schema",)),
    ("an argument that the parameters have not", _http("url: 'http://orders/{{ arguments.nubmer }}'", _ORDER),
     f"{_T}.http.url", ("arguments.nubmer is not defined", f"{_T}.parameters.properties has number")),
    ("an argument of a tool without parameters", _http("url: 'http://orders/{{ arguments.number }}'"),
     f"{_T}.http.url", ("arguments.number is not defined", "has nothing")),
    ("a step's output in a tool", _http("url: 'http://orders/{{ steps.a.output }}'"), f"{_T}.http.url",
     ("a tool is the agent's", "give it values as arguments")),
    ("an unknown name in a header", _http(f"{_ORDERS}, headers: [{{name: A, value: '{{{{ argument.a }}}}'}}]"),
     f"{_T}.http.headers[0].value", ("'argument' is not defined", "knows arguments, inputs, session, agent, task")),
    ("a url that is no template", _http("url: 'http://orders/{{ arguments.number'", _ORDER), f"{_T}.http.url",
     ("unexpected end of template",)),
    ("a block that would get around the encoding of a url",
     _http("url: 'http://orders/{% filter upper %}{{ arguments.number }}{% endfilter %}'", _ORDER), f"{_T}.http.url",
     ("a filter block has no place in a url",)),
    ("the body of a GET", _http(f"{_ORDERS}, body: {{a: 1}}"), f"{_T}.http.body", ("GET sends no body",)),
    ("a bad template in a body", _http(f"{_ORDERS}, method: POST, body: {{a: ['{{{{ 1 + }}}}']}}"),
     f"{_T}.http.body.a[0]", ("expected",)),
    ("a key of a body called on", _http(f"{_ORDERS}, method: POST, body: {{on: 1}}"), f"{_T}.http.body.true",
     ("quote y, n, yes, no, on, off",)),
    ("two headers of one name", _http(f"{_ORDERS}, headers: [{{name: X-A, value: a}}, {{name: x-a, value: b}}]"),
     f"{_T}.http.headers[1].name", ("another header is called x-a",)),
    ("a call's argument in the header of an MCP server",
     _tool("mcp: {url: 'http://t/mcp', headers: [{name: A, value: '{{ arguments.a }}'}]}"),
     f"{_T}.mcp.headers[0].value", ("arguments is not defined", "go with every request")),
    ("a bad template in a tool's container", _tool("container: {image: i, args: ['{{ arguments.a }}']}"),
     f"{_T}.container.args[0]", ("arguments.a is not defined",)),
    ("a mistake in the second line of a tool's input file",
     _agent("tools: [{name: a, container: {image: i, inputFile: {text: \"a\\n{{ argumnts }}\"}}}]"),
     f"{_T}.container.inputFile.text", ("line 2", "'argumnts' is not defined")),
    ("a bad template in what a tool queues",
     _tool("task: {templateRef: {name: t}, inputs: {order: '{{ arguments.a|shout }}'}}"), f"{_T}.task.inputs.order",
     ("there is no filter 'shout'",)),
    ("instructions in the instructions", _agent("instructions: '{{ instructions }}'"), "spec.instructions",
     ("the template of the instructions themselves",)),
    ("a mistake in the third line of a system template",
     _agent("systemTemplate: \"You are {{ agent.name }}.\\n\\n{{ usr.name }}\""), "spec.systemTemplate",
     ("line 3", "'usr' is not defined", "user, users, situation, context, metadata, tools")),
    ("a key of a call's arguments called y", _call("tool: {name: get_order, arguments: {no: 1}}"),
     "spec.steps[0].tool.arguments.false", ("quote y, n, yes, no, on, off",)),
    ("a bad template in a call", _call("tool: {name: get_order, arguments: {number: '{{ inputs.order }}'}}"),
     "spec.steps[0].tool.arguments.number", ("inputs.order is not defined", "spec.inputs has nothing")),
]  # fmt: skip

TOOL_STORED = [
    BadManifest(what, manifest, field, words, Seen.CONDITION) for what, manifest, field, words in _CONDITION
]
