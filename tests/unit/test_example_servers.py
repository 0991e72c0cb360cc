"""The servers that come with the examples bear a busy machine: they are not ended while they begin, or for one slow answer."""

from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"


def containers() -> list[tuple[str, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any]]] = []
    for path in sorted(EXAMPLES.rglob("*.yaml")):
        for body in yaml.safe_load_all(path.read_text()):
            if isinstance(body, dict) and body.get("kind") == "Deployment":
                found += [
                    (body["metadata"]["name"], each)
                    for each in body["spec"]["template"]["spec"]["containers"]
                ]
    return found


def test_there_are_servers() -> None:
    assert {"shop", "tickets"} <= {name for name, _ in containers()}


@pytest.mark.parametrize(("name", "container"), containers())
def test_a_server_has_time_to_begin_and_to_answer(name: str, container: dict[str, Any]) -> None:
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 120, name
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["timeoutSeconds"] >= 5, (name, probe)
