"""Bad manifests of Sessions: people, agents, life, limits and what is kept."""

from tests.bad_manifest import BadManifest, Seen


def _spec(fields: str, name: str = "s") -> str:
    return f"kind: Session\nmetadata: {{name: {name}}}\nspec: {{{fields}}}\n"


def _session(fields: str, name: str = "s") -> str:
    return _spec(f"agentRef: {{name: a}}, {fields}", name)


_REFUSED = [
    ("a session without an agent", _spec("situation: x"), "spec", ("exactly one of agentRef and agents",)),
    ("an agent beside agents", _session("agents: [{name: b}]"), "spec", ("exactly one of agentRef and agents",)),
    ("an agent twice", _spec("agents: [{name: a}, {name: a}]"), "spec.agents[1]", ("Duplicate value",)),
    ("no agents", _spec("agents: []"), "spec.agents", ("at least 1 items",)),
    ("more agents than a conversation takes", _spec(f"agents: [{', '.join(f'{{name: a{n}}}' for n in range(9))}]"),
     "spec.agents", ("must have at most 8 items",)),
    ("a user beside users", _session("user: {id: x}, users: [{id: y}]"), "spec.users", ("user or users, not both",)),
    ("a person without an id", _session("users: [{name: Alice}]"), "spec.users[0].id", ("Required value",)),
    ("a person twice", _session("users: [{id: alice}, {id: bob}, {id: alice}]"), "spec.users[2]",
     ("Duplicate value",)),
    ("a state nobody knows", _session("desiredState: Dormant"), "spec.desiredState",
     ("Unsupported value", "Paused", "Archived")),
    ("an idle time without a unit", _session("limits: {idleTimeout: 60}"), "spec.limits.idleTimeout",
     ("must be of type string",)),
    ("an end after no time", _session("limits: {expireAfter: 0s}"), "spec.limits.expireAfter", ("longer than zero",)),
    ("a session of no messages", _session("limits: {maxMessages: 0}"), "spec.limits.maxMessages",
     ("greater than or equal to 1",)),
    ("a budget that holds no sentence", _session("limits: {tokenBudget: 10}"), "spec.limits.tokenBudget",
     ("greater than or equal to 100",)),
    ("an overflow nobody knows", _session("limits: {contextOverflow: Forget}"), "spec.limits.contextOverflow",
     ("Unsupported value", "Summarize")),
    ("a transcript that is gone at once", _session("retention: {after: 5m}"), "spec.retention.after",
     ("at least 1h",)),
    ("a memory of minutes", _session("retention: {maxAge: 59m}"), "spec.retention.maxAge", ("at least 1h",)),
    ("a retention nobody knows", _session("retention: {transcript: Keep}"), "spec.retention.transcript",
     ("Unsupported value", "Retain")),
    ("a history cleared through nothing", _session("clearHistory: {throughSequence: 0}"),
     "spec.clearHistory.throughSequence", ("greater than or equal to 1",)),
    ("a history cleared without saying how far", _session("clearHistory: {by: alice}"),
     "spec.clearHistory.throughSequence", ("Required value",)),
    ("a restore from a name", _session("restoreFrom: {name: old}"), "spec.restoreFrom.name", ("unknown field",)),
    ("a restore from nothing", _session("restoreFrom: {}"), "spec.restoreFrom.uid", ("Required value",)),
    ("tools that are run now and then", _session("autoRunTools: sometimes"), "spec.autoRunTools",
     ("must be of type boolean",)),
]  # fmt: skip

_CHANGED = [
    ("another agent for a session that exists", "moved", "agentRef: {name: a}", "agentRef: {name: other}",
     "spec.agentRef", ("immutable", "delete the Session and create it again")),
    ("one more agent for a session that exists", "joined", "agents: [{name: a}]", "agents: [{name: a}, {name: b}]",
     "spec.agents", ("immutable", "delete the Session and create it again")),
    ("other agents first in a session that exists", "turned", "agents: [{name: a}, {name: b}]",
     "agents: [{name: b}, {name: a}]", "spec.agents", ("their order too",)),
    ("an ended session set going again", "ended", "agentRef: {name: a}, desiredState: Ended",
     "agentRef: {name: a}, desiredState: Active", "spec.desiredState", ("Ended is final", "restoreFrom")),
    ("an archived session set going again", "archived", "agentRef: {name: a}, desiredState: Archived",
     "agentRef: {name: a}", "spec.desiredState", ("Archived is final", "restoreFrom")),
    ("a history that is cleared less", "cleared", "agentRef: {name: a}, clearHistory: {throughSequence: 9}",
     "agentRef: {name: a}, clearHistory: {throughSequence: 8}", "spec.clearHistory.throughSequence",
     ("can only rise", "does not come back")),
    ("another transcript for a session that exists", "restored", "agentRef: {name: a}, restoreFrom: {uid: a-1}",
     "agentRef: {name: a}, restoreFrom: {uid: b-2}", "spec.restoreFrom", ("immutable",)),
]  # fmt: skip

SESSION_REFUSED = [
    *(BadManifest(what, manifest, field, words) for what, manifest, field, words in _REFUSED),
    *(
        BadManifest(what, _spec(after, name), field, words, first=_spec(before, name))
        for what, name, before, after, field, words in _CHANGED
    ),
]

_CONDITION = [
    ("a value of the context called off", _session("context: {off: 1}"), "spec.context.false",
     ("quote y, n, yes, no, on, off",)),
    ("a system template that is none", _session("systemTemplate: '{{ a|nope }}'"), "spec.systemTemplate",
     ("there is no filter 'nope'",)),
    ("an unknown name in a system template", _session("systemTemplate: '{{ arguments.a }}'"), "spec.systemTemplate",
     ("'arguments' is not defined", "knows inputs")),
]  # fmt: skip

SESSION_STORED = [
    BadManifest(what, manifest, field, words, Seen.CONDITION) for what, manifest, field, words in _CONDITION
]
