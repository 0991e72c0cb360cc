"""The CEL rules of Sessions, each with a manifest that it lets in and one that it refuses."""

from typing import Any

from tests.crd_rules import AGENT, Rule


def session(**spec: Any) -> dict[str, Any]:
    return {"kind": "Session", "metadata": {"name": "s"}, "spec": spec}


def several(*names: str, **spec: Any) -> dict[str, Any]:
    return session(agents=[{"name": name} for name in names], **spec)


def alice(**spec: Any) -> dict[str, Any]:
    return session(**AGENT, **spec)


def clearing(through: int) -> dict[str, Any]:
    return alice(clearHistory={"throughSequence": through})


_ONE_OF_AGENTS = "a Session has exactly one of agentRef and agents"
_ENDED = "Ended is final, but for Archived"
_FROM = {"restoreFrom": {"uid": "0b6d1a3e-6c55-4a51-9d54-4f2f0a1c7f10"}}

SESSION_RULES = [
    Rule(_ONE_OF_AGENTS, alice(), several("a", **AGENT), "spec"),
    Rule(_ONE_OF_AGENTS, several("a", "b"), session(situation="x"), "spec"),
    Rule("a Session has user or users, not both", alice(users=[{"id": "x"}, {"id": "y"}]),
         alice(user={"id": "x"}, users=[{"id": "y"}]), "spec.users"),
    Rule("agentRef is immutable: delete the Session", alice(situation="changed"), session(agentRef={"name": "other"}),
         "spec.agentRef", first=alice()),
    Rule("agentRef is immutable: delete the Session", alice(user={"id": "x"}), several("a"), "spec.agentRef",
         first=alice()),
    Rule("agents is immutable: delete the Session", several("a", "b", situation="changed"), several("a", "b", "c"),
         "spec.agents", first=several("a", "b")),
    Rule("agents is immutable: delete the Session", several("a"), alice(), "spec.agents", first=several("a")),
    Rule("agents is immutable, their order too", several("a", "b"), several("b", "a"), "spec.agents",
         first=several("a", "b")),
    Rule("restoreFrom is immutable: delete the Session", alice(**_FROM, situation="changed"), alice(), "spec.restoreFrom",
         first=alice(**_FROM)),
    Rule("restoreFrom is immutable: delete the Session", alice(situation="changed"), alice(**_FROM), "spec.restoreFrom",
         first=alice()),
    *(
        Rule(_ENDED, alice(desiredState=good), alice(desiredState=bad), "spec.desiredState",
             first=alice(desiredState="Ended"))
        for good, bad in (("Archived", "Active"), ("Ended", "Paused"))
    ),
    # What is taken out of the manifest is Active again.
    Rule(_ENDED, alice(desiredState="Ended"), alice(), "spec.desiredState", first=alice(desiredState="Ended")),
    *(
        Rule("Archived is final", alice(desiredState="Archived"), alice(desiredState=bad), "spec.desiredState",
             first=alice(desiredState="Archived"))
        for bad in ("Active", "Paused", "Ended")
    ),
    Rule("throughSequence can only rise", clearing(7), clearing(4), "spec.clearHistory.throughSequence",
         first=clearing(5)),
    Rule("throughSequence can only rise", alice(), clearing(4), "spec.clearHistory.throughSequence",
         first=clearing(5)),
    Rule("must be at least 1h", alice(retention={"after": "1h"}), alice(retention={"after": "59m"}),
         "spec.retention.after"),
    Rule("must be at least 1h", alice(retention={"maxAge": "60m"}), alice(retention={"maxAge": "3599s"}),
         "spec.retention.maxAge"),
    Rule("must be longer than zero", alice(limits={"idleTimeout": "1s", "expireAfter": "1s"}),
         alice(limits={"idleTimeout": "0s"}), "spec.limits.idleTimeout"),
    Rule("must be longer than zero", alice(limits={"expireAfter": "720h"}), alice(limits={"expireAfter": "0h"}),
         "spec.limits.expireAfter"),
]  # fmt: skip
