"""The port of kstatus's rules against its documented truth table."""

from typing import Any

import pytest

from tests.kstatus import kstatus


def resource(*conditions: tuple[str, str], observed: int | None = 2, **metadata: object) -> dict[str, Any]:
    status: dict[str, Any] = {
        "conditions": [
            {"type": type_, "status": value, "message": f"{type_} is {value}"} for type_, value in conditions
        ]
    }
    if observed is not None:
        status["observedGeneration"] = observed
    return {"metadata": {"name": "x", "generation": 2, **metadata}, "status": status}


@pytest.mark.parametrize(
    ("what", "given", "verdict"),
    [
        (
            "not seen by anybody",
            {"metadata": {"generation": 1}, "status": {"observedGeneration": -1}},
            "InProgress",
        ),
        ("no status at all", {"metadata": {"generation": 1}}, "Current"),
        ("spec changed since", resource(("Ready", "True"), observed=1), "InProgress"),
        ("spec changed since a failure", resource(("Stalled", "True"), observed=1), "InProgress"),
        ("reconciling", resource(("Ready", "Unknown"), ("Reconciling", "True")), "InProgress"),
        ("reconciling although ready", resource(("Ready", "True"), ("Reconciling", "True")), "InProgress"),
        ("stalled", resource(("Ready", "False"), ("Stalled", "True")), "Failed"),
        ("stalled listed first", resource(("Stalled", "True"), ("Reconciling", "True")), "Failed"),
        ("reconciling listed first", resource(("Reconciling", "True"), ("Stalled", "True")), "InProgress"),
        ("stalled no more", resource(("Ready", "True"), ("Stalled", "False")), "Current"),
        ("ready", resource(("Ready", "True"), ("Succeeded", "True")), "Current"),
        ("not ready", resource(("Ready", "False")), "InProgress"),
        ("readiness unknown", resource(("Ready", "Unknown")), "InProgress"),
        ("no generation recorded", resource(("Ready", "True"), observed=None), "Current"),
        ("no condition it knows", resource(("Succeeded", "False")), "Current"),
        (
            "being deleted",
            resource(("Ready", "True"), deletionTimestamp="2026-11-23T00:00:00Z"),
            "Terminating",
        ),
        (
            "being deleted, stalled",
            resource(("Stalled", "True"), deletionTimestamp="2026-11-23T00:00:00Z"),
            "Terminating",
        ),
    ],
)
def test_the_verdict_on_a_resource(what: str, given: dict[str, Any], verdict: str) -> None:
    assert kstatus(given).status == verdict, what


def test_the_message_is_the_deciding_conditions() -> None:
    assert kstatus(resource(("Ready", "False"), ("Stalled", "True"))).message == "Stalled is True"
