"""The CEL rules of flows (branches, items, waits, children) and of TaskTemplate, Schedule and Reply."""

from typing import Any

from tests.crd_rules import AGENT, ASK, RUN, SESSION, Rule, task

TEMPLATE = {"templateRef": {"name": "t"}}
WAIT = {"name": "confirm", "wait": {"question": "?"}}
SET = {"name": "keep", "set": {"context": {"a": 1}}}
CHILD = {"name": "child", "task": TEMPLATE}


def steps(*steps: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return task(**{"steps": list(steps), **spec})


def wait(**fields: Any) -> dict[str, Any]:
    return steps({"name": "confirm", "wait": {"question": "?", **fields}})


def one(kind: str, **fields: Any) -> dict[str, Any]:
    return steps({"name": "one", kind: fields})


def needing(*needs: str) -> dict[str, Any]:
    """Three steps; the second needs these."""
    return steps({"name": "a", **_RUN}, {"name": "b", "needs": list(needs), **_RUN}, {"name": "c", **_RUN})


_RUN = {"container": {"image": "i"}}


def template(**spec: Any) -> dict[str, Any]:
    return {"kind": "TaskTemplate", "metadata": {"name": "t"}, "spec": {"task": spec}}


def schedule(cron: str = "0 9 * * *", *, name: str = "s", **metadata: Any) -> dict[str, Any]:
    spec = {"schedule": cron, "taskTemplate": {"metadata": metadata, "spec": {"steps": [RUN]}}}
    return {"kind": "Schedule", "metadata": {"name": name}, "spec": spec}


def scheduled(**spec: Any) -> dict[str, Any]:
    return {
        "kind": "Schedule",
        "metadata": {"name": "s"},
        "spec": {"schedule": "0 9 * * *", "taskTemplate": {"spec": spec}},
    }


def reply(**spec: Any) -> dict[str, Any]:
    spec = {"taskRef": {"name": "t"}, "waitID": "w", **spec}
    return {"kind": "Reply", "metadata": {"name": "r"}, "spec": spec}


_ANY_OF = "is for prompt, tool, container and task steps"
_SCHEDULED = "spec.taskTemplate.spec"

FLOW_RULES = [
    Rule("a Task has exactly one of message, steps and templateRef", task(**TEMPLATE),
         task(**TEMPLATE, steps=[RUN]), "spec"),
    Rule("output is for the TaskTemplate to say", task(**TEMPLATE), task(**TEMPLATE, output={"a": 1}), "spec.output"),
    Rule("a set step needs the Task's sessionRef", steps(SET, **SESSION), steps(SET, **AGENT), "spec.steps"),
    *(
        Rule(f"{field} is immutable: delete the Task", task(**{field: first}, **more), task(**{field: other}, **more),
             f"spec.{field}", first=task(**{field: first}, **more))
        for field, first, other, more in (
            ("templateRef", {"name": "a"}, {"name": "b"}, {}),
            ("runtime", {"mode": "Task"}, {"mode": "Job"}, {"steps": [RUN]}),
        )
    ),
    Rule("steps is immutable, their order too", steps(RUN, WAIT), steps(WAIT, RUN), "spec.steps",
         first=steps(RUN, WAIT)),
    Rule("needs names a step that does not exist", needing("a"), needing("nobody"), "spec.steps"),
    Rule("needs may name only steps written above", needing(), needing("c"), "spec.steps"),
    Rule("needs may name only steps written above", needing("a"), needing("a", "b"), "spec.steps"),
    *(
        Rule("a step has exactly one of prompt, tool, container, wait", good, steps({**RUN, **part}), "spec.steps[0]")
        for good, part in (
            (wait(), {"wait": {"question": "?"}}),
            (one("sleep", duration="1h"), {"sleep": {"duration": "1h"}}),
            (steps(SET, **SESSION), {"set": {"context": {"a": 1}}}),
            (steps(CHILD), {"task": TEMPLATE}),
            (one("return", value=None), {"return": {"value": 1}}),
            (one("fail", message="no"), {"fail": {"message": "no"}}),
        )
    ),
    *(
        Rule(f"retry {_ANY_OF}", steps({**good, "retry": {"limit": 1}}, **AGENT),
             steps({**bad, "retry": {"limit": 1}}, **AGENT), "spec.steps[0].retry")
        for good, bad in ((ASK, WAIT), (RUN, {"name": "s", "sleep": {"duration": "1s"}}))
    ),
    Rule(f"timeout {_ANY_OF}", steps({**CHILD, "timeout": "1h"}), steps({**WAIT, "timeout": "1h"}),
         "spec.steps[0].timeout"),
    Rule(f"forEach {_ANY_OF}", steps({**CHILD, "forEach": {"items": "{{ [1] }}"}}),
         steps({**WAIT, "forEach": {"items": [1]}}), "spec.steps[0].forEach"),
    *(
        Rule("continueOnError has no place beside return and fail", steps({**good, "continueOnError": on}),
             steps({**bad, "continueOnError": True}), "spec.steps[0].continueOnError")
        for good, on, bad in (
            (RUN, True, {"name": "r", "return": {"value": 1}}),
            ({"name": "f", "fail": {"message": "m"}}, False, {"name": "f", "fail": {"message": "m"}}),
        )
    ),
    Rule("history: Session cannot stand beside forEach",
         steps({**ASK, "forEach": {"items": []}}, **SESSION),
         steps({"name": "ask", "prompt": {"text": "?", "history": "Session"}, "forEach": {"items": []}}, **SESSION),
         "spec.steps[0].prompt.history"),
    Rule("a wait has choices or a schema, not both", wait(choices=["a", "b"]),
         wait(choices=["a", "b"], schema={"type": "string"}), "spec.steps[0].wait"),
    Rule("a sleep has exactly one of duration and until", one("sleep", duration="1h"), one("sleep"),
         "spec.steps[0].sleep"),
    Rule("a sleep has exactly one of", one("sleep", until="2027-01-31T09:00:00Z"),
         one("sleep", until="2027-01-31T09:00:00Z", duration="1h"), "spec.steps[0].sleep"),
    Rule("a task step has exactly one of templateRef and spec", one("task", spec={"steps": [RUN]}), one("task"),
         "spec.steps[0].task"),
    Rule("a task step has exactly one of", one("task", **TEMPLATE), one("task", **TEMPLATE, spec={"steps": [RUN]}),
         "spec.steps[0].task"),
    Rule("a TaskTemplate's task has exactly one of message and steps", template(message="m"), template(),
         "spec.task"),
    Rule("a TaskTemplate's task has exactly one of", template(steps=[ASK, SET]), template(message="m", steps=[RUN]),
         "spec.task"),
    Rule("user needs sessionRef", template(**SESSION, **AGENT, user="u", message="m"), template(user="u", message="m"),
         "spec.task.user"),
    Rule("a message needs a sessionRef or an agentRef", scheduled(**AGENT, message="m"), scheduled(message="m"),
         f"{_SCHEDULED}.message"),
    Rule("a Task has exactly one of", scheduled(**TEMPLATE), scheduled(**TEMPLATE, message="m"), _SCHEDULED),
    Rule("metadata.name must be a DNS label of at most 41", schedule(name="a" * 41), schedule(name="a" * 42),
         "metadata.name"),
    Rule("metadata.name must be a DNS label", schedule(name="a-1"), schedule(name="a.b"), "metadata.name"),
    Rule("a schedule has five fields", schedule("*/5 0  1-7 * MON"), schedule("0 0 9 * * *"), "spec.schedule"),
    Rule("a schedule has five fields", schedule("59 23 31 12 0"), schedule("@daily"), "spec.schedule"),
    Rule("write the time zone into timeZone", schedule(), schedule("CRON_TZ=Asia/Tokyo 0 9 * * *"), "spec.schedule"),
    Rule("a key must be that of a label", schedule(labels={"a.b/c_D-e": ""}), schedule(labels={"a/b/c": "x"}),
         "spec.taskTemplate.metadata.labels"),
    Rule("a key must be that of an annotation", schedule(annotations={"a": "any text"}),
         schedule(annotations={"-a": ""}), "spec.taskTemplate.metadata.annotations"),
    Rule("keys that begin with parley.dev/ are reserved", schedule(labels={"my.parley.dev/a": "x"}),
         schedule(labels={"parley.dev/task": "x"}), "spec.taskTemplate.metadata.labels"),
    Rule("keys that begin with parley.dev/", schedule(annotations={"parley": "x"}),
         schedule(annotations={"parley.dev/a": "x"}), "spec.taskTemplate.metadata.annotations"),
    *(
        Rule("a Reply is immutable", reply(**first), reply(**other), "spec", first=reply(**first))
        for first, other in (
            ({"choice": "yes"}, {"choice": "no"}),
            ({"value": {"deep": [1]}}, {"value": {"deep": [2]}}),
            ({"choice": "yes", "by": "alice"}, {"choice": "yes"}),
        )
    ),
]  # fmt: skip
