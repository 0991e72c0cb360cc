"""Bad manifests of flows (branches, items, retries, waits, children), TaskTemplates, Schedules and Replies."""

from tests.bad_manifest import BadManifest, Seen, task

_RUN = "container: {image: i}"


def _step(fields: str, spec: str = "agentRef: {name: a}") -> str:
    """A Task of one step with these fields."""
    return task(f"{spec}\nsteps:\n- {{name: one, {fields}}}\n")


def _wait(fields: str) -> str:
    return _step(f"wait: {{question: 'Pay?', {fields}}}")


def _branches(fields: str) -> str:
    """A Task of two steps that begin at once, and a third one with these fields."""
    return task(
        "inputs: {sizes: [1]}\nsteps:\n"
        f"- {{name: look-up, needs: [], {_RUN}}}\n"
        f"- {{name: price, needs: [], {_RUN}}}\n"
        f"- {{name: pay, needs: [price], {fields}}}\n"
    )


def _argument(template: str, more: str) -> str:
    return f"container: {{image: i, args: ['{template}']}}, {more}"


def _template(task_fields: str, more: str = "") -> str:
    return f"kind: TaskTemplate\nmetadata: {{name: t}}\nspec: {{{more}task: {{{task_fields}}}}}\n"


def _schedule(fields: str, spec: str = f"steps: [{{name: run, {_RUN}}}]", name: str = "s") -> str:
    return (
        f"kind: Schedule\nmetadata: {{name: {name}}}\n"
        f"spec: {{{fields}, taskTemplate: {{spec: {{{spec}}}}}}}\n"
    )


def _reply(fields: str) -> str:
    return f"kind: Reply\nmetadata: {{name: r}}\nspec: {{taskRef: {{name: t}}, waitID: w{fields}}}\n"


_NINE = "schedule: '0 9 * * *'"
_TASK_TEMPLATE = "spec.taskTemplate.spec"

_REFUSED = [
    ("a need that does not exist", _branches(f"{_RUN}}}\n- {{name: ship, needs: [nobody], {_RUN}"), "spec.steps",
     ("needs names a step that does not exist",)),
    ("steps that need each other",
     task(f"steps:\n- {{name: a, needs: [b], {_RUN}}}\n- {{name: b, needs: [a], {_RUN}}}"), "spec.steps",
     ("only steps written above", "no cycle")),
    ("a step that needs itself", task(f"steps: [{{name: a, needs: [a], {_RUN}}}]"), "spec.steps",
     ("only steps written above",)),
    ("a need that is no list", _step(f"needs: run, {_RUN}"), "spec.steps[0].needs", ("must be of type array",)),
    ("a need twice", _branches(f"{_RUN}}}\n- {{name: ship, needs: [pay, pay], {_RUN}"), "spec.steps[3].needs[1]",
     ("Duplicate value",)),
    ("a condition that YAML reads as a boolean", _step(f"when: true, {_RUN}"), "spec.steps[0].when",
     ("must be of type string", "boolean")),
    ("a wait and a sleep in one step", _step("wait: {question: q}, sleep: {duration: 1h}"), "spec.steps[0]",
     ("exactly one of prompt, tool, container, wait, sleep, set, task, return, fail",)),
    ("a wait that stands empty", "kind: Task\nmetadata: {name: t}\nspec:\n  steps:\n  - name: w\n    wait:\n",
     "spec.steps[0]", ("exactly one of prompt, tool, container, wait",)),
    ("retries of a wait", _step("wait: {question: q}, retry: {limit: 1}"), "spec.steps[0].retry",
     ("is for prompt, tool, container and task steps", "run no attempts")),
    ("the timeout of a wait in the wrong place", _step("wait: {question: q}, timeout: 1h"), "spec.steps[0].timeout",
     ("a wait has its own, below wait",)),
    ("items of a sleep", _step("sleep: {duration: 1h}, forEach: {items: [1]}"), "spec.steps[0].forEach",
     ("is for prompt, tool, container and task steps",)),
    ("a failure that may be ignored", _step("fail: {message: no}, continueOnError: true"),
     "spec.steps[0].fail.message", ("must be of type string", "boolean")),
    ("a failure after which the task goes on", _step("fail: {message: broken}, continueOnError: true"),
     "spec.steps[0].continueOnError", ("no place beside return and fail",)),
    ("items that join the conversation",
     _step("prompt: {text: hi, history: Session}, forEach: {items: [1]}", "sessionRef: {name: s}"),
     "spec.steps[0].prompt.history", ("cannot stand beside forEach", "one turn at a time")),
    ("a forEach without items", _step(f"{_RUN}, forEach: {{parallelism: 3}}"), "spec.steps[0].forEach.items",
     ("Required value",)),
    ("more at once than there can be items", _step(f"{_RUN}, forEach: {{items: [1], parallelism: 1001}}"),
     "spec.steps[0].forEach.parallelism", ("less than or equal to 1000",)),
    ("retries without end", _step(f"{_RUN}, retry: {{limit: 1000}}"), "spec.steps[0].retry.limit",
     ("less than or equal to 20",)),
    ("a cause nobody knows", _step(f"{_RUN}, retry: {{limit: 1, causes: [Evicted]}}"),
     "spec.steps[0].retry.causes[0]", ("Unsupported value", "OOMKilled", "Timeout")),
    ("causes by the key that YAML reads as a boolean", _step(f"{_RUN}, retry: {{limit: 1, on: [Error]}}"),
     "spec.steps[0].retry.true", ("unknown field",)),
    ("a backoff that is no number of times", _step(f"{_RUN}, retry: {{limit: 1, backoff: {{factor: 1.5}}}}"),
     "spec.steps[0].retry.backoff.factor", ("must be of type int64",)),
    ("a backoff in days", _step(f"{_RUN}, retry: {{limit: 1, backoff: {{max: 1d}}}}"),
     "spec.steps[0].retry.backoff.max", ("should match",)),
    ("one choice", _wait("choices: [approve]"), "spec.steps[0].wait.choices", ("at least 2 items",)),
    ("choices that YAML reads as booleans", _wait("choices: [yes, no]"), "spec.steps[0].wait.choices[0]",
     ("must be of type string", "boolean")),
    ("a choice twice", _wait("choices: [a, b, a]"), "spec.steps[0].wait.choices[2]", ("Duplicate value",)),
    ("choices and a schema", _wait("choices: [a, b], schema: {type: string}"), "spec.steps[0].wait",
     ("choices or a schema, not both",)),
    ("a wait without a question", _step("wait: {choices: [a, b]}"), "spec.steps[0].wait.question",
     ("Required value",)),
    ("a wait of two days, in days", _wait("timeout: 2d"), "spec.steps[0].wait.timeout", ("should match",)),
    ("a sleep of no time", _step("sleep: {}"), "spec.steps[0].sleep", ("exactly one of duration and until",)),
    ("a sleep of zero", _step("sleep: {duration: 0s}"), "spec.steps[0].sleep.duration", ("longer than zero",)),
    ("a context to set without a session", _step("set: {context: {a: 1}}"), "spec.steps",
     ("a set step needs the Task's sessionRef",)),
    ("nothing to set", _step("set: {context: {}}", "sessionRef: {name: s}"), "spec.steps[0].set.context",
     ("at least 1",)),
    ("a child of two kinds", _step("task: {templateRef: {name: t}, spec: {message: hi}}"), "spec.steps[0].task",
     ("exactly one of templateRef and spec",)),
    ("a child of nothing", _step("task: {inputs: {a: 1}}"), "spec.steps[0].task",
     ("exactly one of templateRef and spec",)),
    ("a value without its key", _step("return: 5"), "spec.steps[0].return", ("must be of type object",)),
    ("an output from nowhere", _step("container: {image: i, outputFrom: Stdout}"),
     "spec.steps[0].container.outputFrom", ("Unsupported value", "Message", "File")),
    ("a template and a message", task("agentRef: {name: a}\ntemplateRef: {name: t}\nmessage: hi"), "spec",
     ("exactly one of message, steps and templateRef",)),
    ("a template and an output", task("templateRef: {name: t}\noutput: {a: 1}"), "spec.output",
     ("for the TaskTemplate to say",)),
    ("a mode nobody knows", task("agentRef: {name: a}\nmessage: hi\nruntime: {mode: Fast}"), "spec.runtime.mode",
     ("Unsupported value", "Job", "Task")),
    ("a life of two days, in days", task("agentRef: {name: a}\nmessage: hi\nttlAfterFinished: 2d"),
     "spec.ttlAfterFinished", ("should match",)),
    ("an agent that may run nothing",
     "kind: Agent\nmetadata: {name: a}\nspec: {model: {provider: OpenAI, name: m}, limits: {maxConcurrentTasks: 0}}",
     "spec.limits.maxConcurrentTasks", ("greater than or equal to 1",)),
    ("a template of nothing", _template("inputs: {a: 1}"), "spec.task", ("exactly one of message and steps",)),
    ("a template of a template", _template("templateRef: {name: t}"), "spec.task.templateRef", ("unknown field",)),
    ("a template that is suspended", _template("message: hi, desiredState: Suspended"), "spec.task.desiredState",
     ("unknown field",)),
    ("a template without a task", "kind: TaskTemplate\nmetadata: {name: t}\nspec: {description: d}", "spec.task",
     ("Required value",)),
    ("a need that a template has not", _template(f"steps: [{{name: a, needs: [b], {_RUN}}}]"), "spec.task.steps",
     ("needs names a step that does not exist",)),
    ("six fields of cron", _schedule("schedule: '0 0 9 * * *'"), "spec.schedule", ("five fields",)),
    ("a time zone inside cron", _schedule("schedule: 'TZ=Europe/Berlin 0 9 * * *'"), "spec.schedule",
     ("write the time zone into timeZone",)),
    ("a time zone with a space", _schedule(f"{_NINE}, timeZone: Europe/Berlin Mitte"), "spec.timeZone",
     ("should match",)),
    ("a policy nobody knows", _schedule(f"{_NINE}, concurrencyPolicy: Skip"), "spec.concurrencyPolicy",
     ("Unsupported value", "Allow", "Forbid", "Replace")),
    ("a deadline in seconds without the unit", _schedule(f"{_NINE}, startingDeadline: '60'"),
     "spec.startingDeadline", ("should match",)),
    ("a history of fewer than none", _schedule(f"{_NINE}, failedTasksHistoryLimit: -1"),
     "spec.failedTasksHistoryLimit", ("greater than or equal to 0",)),
    ("a schedule that says no time", "kind: Schedule\nmetadata: {name: s}\nspec: {taskTemplate: {spec: {steps: []}}}",
     "spec.schedule", ("Required value",)),
    ("a schedule that makes nothing", f"kind: Schedule\nmetadata: {{name: s}}\nspec: {{{_NINE}}}",
     "spec.taskTemplate", ("Required value",)),
    ("a schedule's task for nobody", _schedule(_NINE, "message: hi"), f"{_TASK_TEMPLATE}.message",
     ("needs a sessionRef or an agentRef",)),
    ("a schedule's name that leaves no room for its Tasks", _schedule(_NINE, name="a" * 42), "metadata.name",
     ("at most 41 characters", "its Tasks")),
    ("a reply with a choice and a value", _reply(", choice: a, value: 1"), "<nil>", ('"spec"', "one and only one")),
    ("a reply that says nothing", _reply(", message: well"), "spec.choice", ("Required value",)),
    ("a reply to no question", "kind: Reply\nmetadata: {name: r}\nspec: {taskRef: {name: t}, choice: a}",
     "spec.waitID", ("Required value",)),
    ("a choice that YAML reads as a boolean", _reply(", choice: yes"), "spec.choice",
     ("must be of type string", "boolean")),
]  # fmt: skip

FLOW_REFUSED = [
    *(BadManifest(what, manifest, field, words) for what, manifest, field, words in _REFUSED),
    BadManifest(
        "another answer in a reply that exists",
        _reply(", choice: reject").replace("name: r", "name: changed"),
        "spec",
        ("immutable", "delete it and create another"),
        first=_reply(", choice: approve").replace("name: r", "name: changed"),
    ),
    BadManifest(
        "another order of the steps of a task that exists",
        task(f"steps: [{{name: b, {_RUN}}}, {{name: a, {_RUN}}}]", name="order"),
        "spec.steps",
        ("immutable, their order too", "delete the Task and create it again"),
        first=task(f"steps: [{{name: a, {_RUN}}}, {{name: b, {_RUN}}}]", name="order"),
    ),
    BadManifest(
        "another template for a task that exists",
        task("templateRef: {name: other}", name="template"),
        "spec.templateRef",
        ("immutable",),
        first=task("templateRef: {name: one}", name="template"),
    ),
]

_ITEMS = "spec.steps[2].forEach.items"
_INLINE = "spec.steps[0].task.spec"
_DEEP = "{steps: [{name: s, task: {spec: " * 5 + f"{{steps: [{{name: s, {_RUN}}}]}}" + "}}]}" * 5

_CONDITION = [
    ("a condition with words around it", _branches(f"{_RUN}, when: 'if {{{{ inputs.sizes }}}}'"),
     "spec.steps[2].when", ("yields a text", "exactly one {{ expression }}", "true or false")),
    ("a condition that is a word", _branches(f"{_RUN}, when: 'true'"), "spec.steps[2].when",
     ("yields a text", "true or false")),
    ("a condition on what need not be done", _branches(f"{_RUN}, when: '{{{{ steps.look_up.output.ok }}}}'"),
     "spec.steps[2].when", ("steps.look_up may not be done yet", "add look-up to the needs")),
    ("an argument from a branch that need not be done", _branches(_argument("{{ steps.look_up.output }}", "")[:-2]),
     "spec.steps[2].container.args[0]", ("steps.look_up may not be done yet", "needs of this step")),
    ("a condition on an item", _branches(f"{_RUN}, when: '{{{{ item > 1 }}}}', forEach: {{items: [1, 2]}}"),
     "spec.steps[2].when", ("item is not defined", "once for the step")),
    ("an item without items", _branches(_argument("{{ item }}", "")[:-2]), "spec.steps[2].container.args[0]",
     ("item is not defined", "the step has no forEach")),
    ("items made of items", _branches(f"{_RUN}, forEach: {{items: '{{{{ [index] }}}}'}}"), _ITEMS,
     ("index is not defined", "once for the step")),
    ("items written as a text", _branches(f"{_RUN}, forEach: {{items: '1, 2, 3'}}"), _ITEMS,
     ("yields a text", "yields a list")),
    ("items that are a mapping", _branches(f"{_RUN}, forEach: {{items: {{a: 1}}}}"), _ITEMS,
     ("must be a list",)),
    ("too many items", _branches(f"{_RUN}, forEach: {{items: {[0] * 1001}}}"), _ITEMS,
     ("has 1001 items", "at most 1000")),
    ("items from an input that is not given", _branches(f"{_RUN}, forEach: {{items: '{{{{ inputs.size }}}}'}}"),
     _ITEMS, ("inputs.size is not defined", "sizes")),
    ("a bad template in an input file", _branches("container: {image: i, inputFile: {a: ['{{ nope }}']}}"),
     "spec.steps[2].container.inputFile.a[0]", ("'nope' is not defined",)),
    ("a bad template in a question", _step("wait: {question: 'Pay {{ inputs.amount }}?'}"),
     "spec.steps[0].wait.question", ("inputs.amount is not defined",)),
    ("a default answer that is no choice", _wait("choices: [approve, reject], timeout: 1h, onTimeout: rejected"),
     "spec.steps[0].wait.onTimeout", ('"rejected" is none of the choices approve, reject',)),
    ("a default answer that YAML reads as a boolean", _wait("choices: ['yes', 'no'], timeout: 1h, onTimeout: no"),
     "spec.steps[0].wait.onTimeout", ("is false", "one of the choices", "quote it")),
    ("a default answer without a timeout", _wait("choices: [a, b], onTimeout: a"), "spec.steps[0].wait.onTimeout",
     ("needs a timeout",)),
    ("a schema for an answer of a type that does not exist", _wait("schema: {type: money}"),
     "spec.steps[0].wait.schema.type", ('"money" is no type of JSON',)),
    ("an instant that is none", _step("sleep: {until: tomorrow}"), "spec.steps[0].sleep.until",
     ('"tomorrow" is no instant', "2027-01-31T09:00:00Z")),
    ("an instant without a time zone", _step("sleep: {until: '2027-01-31T09:00:00'}"), "spec.steps[0].sleep.until",
     ("is no instant",)),
    ("a bad template in an instant", _step("sleep: {until: '{{ inputs.when }}'}"), "spec.steps[0].sleep.until",
     ("inputs.when is not defined",)),
    ("a context with a key that was not quoted", _step("set: {context: {yes: 1}}", "sessionRef: {name: s}"),
     "spec.steps[0].set.context.true", ("quote y, n, yes, no, on, off",)),
    ("a bad template in a context", _step("set: {context: {a: '{{ steps.two.output }}'}}", "sessionRef: {name: s}"),
     "spec.steps[0].set.context.a", ("steps.two does not exist",)),
    ("a bad template in an early end", _step("return: {value: {a: '{{ b }}'}}"), "spec.steps[0].return.value.a",
     ("'b' is not defined",)),
    ("a bad template in a failure", _step("fail: {message: 'no {{ session.user }}'}"), "spec.steps[0].fail.message",
     ("session is not defined", "no sessionRef")),
    ("a bad template in a child's inputs", _step("task: {templateRef: {name: t}, inputs: {a: '{{ x }}'}}"),
     "spec.steps[0].task.inputs.a", ("'x' is not defined",)),
    ("a misspelt field inside a child", _step("task: {spec: {mesage: hi}}"), f"{_INLINE}.mesage",
     ("Extra inputs are not permitted",)),
    ("a child of no kind", _step("task: {spec: {inputs: {a: 1}}}"), _INLINE,
     ("exactly one of message, steps and templateRef",)),
    ("a child that is suspended", _step("task: {spec: {message: hi, desiredState: Suspended}}"),
     f"{_INLINE}.desiredState", ("with its parent",)),
    ("a child that asks nobody", _step("task: {spec: {message: hi}}", "inputs: {}"), f"{_INLINE}.message",
     ("needs a sessionRef or an agentRef",)),
    ("a child's step that needs nobody",
     _step(f"task: {{spec: {{steps: [{{name: a, needs: [b], {_RUN}}}]}}}}"), f"{_INLINE}.steps[0].needs[0]",
     ("there is no step b",)),
    ("a child's step of two kinds", _step(f"task: {{spec: {{steps: [{{name: a, {_RUN}, fail: {{message: m}}}}]}}}}"),
     f"{_INLINE}.steps[0]", ("exactly one of prompt, tool, container",)),
    ("a child's timeout of zero", _step("task: {spec: {message: hi, timeout: 0s}}"), f"{_INLINE}.timeout",
     ("must be longer than zero",)),
    ("a parent's output inside a child",
     task(f"steps:\n- {{name: a, {_RUN}}}\n"
          "- {name: b, task: {spec: {steps: [{name: c, container: {image: i, args: ['{{ steps.a.output }}']}}]}}}"),
     "spec.steps[1].task.spec.steps[0].container.args[0]", ("steps.a does not exist",)),
    ("an input that a child is not given",
     _step("task: {inputs: {a: 1}, spec: {inputs: {b: 1}, "
           "steps: [{name: c, container: {image: i, args: ['{{ inputs.d }}']}}]}}"),
     f"{_INLINE}.steps[0].container.args[0]", ("inputs.d is not defined", "has a, b")),
    ("children without end", _step(f"task: {{spec: {_DEEP}}}"), _INLINE + ".steps[0].task.spec" * 5,
     ("nested deeper than 5 Tasks",)),
    ("a schema of inputs that was not quoted",
     _template("message: hi", "inputSchema: {type: object, required: [no]}, "), "spec.inputSchema.required[0]",
     ("is no string", "quote y, n, yes, no, on, off")),
    ("an input that a template's schema does not know",
     _template("steps: [{name: a, container: {image: i, args: ['{{ inputs.b }}']}}]",
               "inputSchema: {type: object, properties: {a: {}}, additionalProperties: false}, "),
     "spec.task.steps[0].container.args[0]", ("inputs.b is not defined", "a")),
    ("a bad template in a template", _template(f"steps: [{{name: a, when: '{{{{ stesp }}}}', {_RUN}}}]"),
     "spec.task.steps[0].when", ("'stesp' is not defined",)),
    ("a default answer in a template that is no choice",
     _template("steps: [{name: w, wait: {question: q, choices: [a, b], timeout: 1h, onTimeout: c}}]"),
     "spec.task.steps[0].wait.onTimeout", ("none of the choices",)),
    ("a bad template in a schedule", _schedule(_NINE, "steps: [{name: a, fail: {message: '{{ inputs.x }}'}}]"),
     f"{_TASK_TEMPLATE}.steps[0].fail.message", ("inputs.x is not defined",)),
    ("a sleep of a schedule until nowhere", _schedule(_NINE, "steps: [{name: a, sleep: {until: noon}}]"),
     f"{_TASK_TEMPLATE}.steps[0].sleep.until", ("is no instant",)),
    ("a minute that no hour has", _schedule("schedule: '61 9 * * *'"), "spec.schedule", ("'61 9 * * *'", "five fields")),
    ("a day that no month has", _schedule("schedule: '0 0 31 2 *'"), "spec.schedule", ("bad day-of-month",)),
    ("a time zone that is none", _schedule(f"{_NINE}, timeZone: Europe/Nowhere"), "spec.timeZone",
     ("there is no time zone 'Europe/Nowhere'", "Europe/Berlin")),
]  # fmt: skip

FLOW_STORED = [
    BadManifest(what, manifest, field, words, Seen.CONDITION) for what, manifest, field, words in _CONDITION
]
