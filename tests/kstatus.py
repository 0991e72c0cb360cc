"""kstatus's verdict on a custom resource, by the rules of cli-utils' ``pkg/kstatus/status`` (generic part).

Flux and others wait by these rules; the tests hold every state the operator can write against them.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Status = Literal["InProgress", "Current", "Failed", "Terminating"]


class Verdict(NamedTuple):
    status: Status
    message: str


def kstatus(resource: Mapping[str, Any]) -> Verdict:
    metadata = resource.get("metadata") or {}
    status = resource.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return Verdict("Terminating", "Resource scheduled for deletion")
    observed = status.get("observedGeneration")
    if observed is not None and observed != metadata.get("generation", 0):
        return Verdict(
            "InProgress", f"generation is {metadata.get('generation')}, but latest observed is {observed}"
        )
    conditions = [condition for condition in status.get("conditions") or [] if condition]
    # The order in the list decides between the two, not their rank.
    for condition in conditions:
        if condition.get("status") == "True" and condition.get("type") in {"Reconciling", "Stalled"}:
            verdict: Status = "InProgress" if condition["type"] == "Reconciling" else "Failed"
            return Verdict(verdict, condition.get("message", ""))
    for condition in conditions:
        if condition.get("type") == "Ready":
            if condition.get("status") == "True":
                return Verdict("Current", "Resource is Ready")
            if condition.get("status") in {"False", "Unknown"}:
                return Verdict("InProgress", condition.get("message", ""))
    return Verdict("Current", "Resource is current")
