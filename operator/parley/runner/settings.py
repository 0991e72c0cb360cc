"""What the pod's environment tells the runner."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from parley.protocol.model_keys import MODEL_KEY_PREFIX, TOOL_SECRET_PREFIX

DEFAULT_TOKEN_FILE = "/var/run/secrets/parley.dev/token"  # noqa: S105 - a path, not a token
MAX_SLOTS = 100
MAX_PORT = 65_535


class SettingsError(Exception):
    """A variable is missing or wrong; the message names it."""


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Where the gateway is, and how to prove which pod this is.

    Attributes:
        gateway_url: base URL, without a slash at the end.
        store_id: id of the store that holds the attempt.
        token_file: the pod's projected token; the kubelet renews it there.
        secrets: keys of the agent's models and secrets of its tools, by the variables they stand in
            (``model_key_variable``, ``tool_secret_variable``).
        slots: how many attempts a warm runner runs at a time.
        liveness_port: where a warm runner tells that it still turns, 0 for any that is free; None: the usual one.
    """

    gateway_url: str
    store_id: str
    token_file: Path
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    slots: int = 1
    liveness_port: int | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "RunnerSettings":
        """Read the settings.

        Raises:
            SettingsError: a variable is missing or empty, or a number is none.
        """

        def required(name: str) -> str:
            if value := environment.get(name):
                return value
            raise SettingsError(f"{name} is not set: the operator sets it in every step pod")

        slots = environment.get("PARLEY_CONCURRENCY") or "1"
        if not slots.isdecimal() or not 1 <= int(slots) <= MAX_SLOTS:
            raise SettingsError(f"PARLEY_CONCURRENCY must be a number from 1 to {MAX_SLOTS}, not {slots!r}")

        port = environment.get("PARLEY_LIVENESS_PORT")
        if port and (not port.isdecimal() or int(port) > MAX_PORT):
            raise SettingsError(f"PARLEY_LIVENESS_PORT must be a port, not {port!r}")

        return cls(
            gateway_url=required("PARLEY_GATEWAY_URL").rstrip("/"),
            store_id=required("PARLEY_STORE_ID"),
            token_file=Path(environment.get("PARLEY_TOKEN_FILE") or DEFAULT_TOKEN_FILE),
            secrets={
                name: value
                for name, value in environment.items()
                if name.startswith((MODEL_KEY_PREFIX, TOOL_SECRET_PREFIX))
            },
            slots=int(slots),
            liveness_port=int(port) if port else None,
        )
