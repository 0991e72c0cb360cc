"""The gateway's settings, from its environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Where the gateway finds its store, and how much it takes.

    Attributes:
        database_url: of Postgres; holds a password, so it is never shown.
        http_port: of all endpoints.
        pool_size: database connections, and so calls served at a time.
        max_body_bytes: largest request body of a runner; a larger one is refused with 413.
        max_people_body_bytes: largest request body of people and programs, imports apart.
        max_import_bytes: largest import of a session.
        body_seconds: how long a person's body may take to arrive; then 408.
        requests_per_second: what one caller may ask of this gateway in the long run; 0: no limit.
        request_burst: and at once.
        streams_per_caller: streams that one caller, or one user it acts for, may have open here.
        call_seconds: longest time a runner's call may take; then it is told to repeat it.
    """

    database_url: str
    http_port: int = 8080
    pool_size: int = 10
    max_body_bytes: int = 16 * 1024 * 1024
    max_people_body_bytes: int = 1024 * 1024
    max_import_bytes: int = 64 * 1024 * 1024
    body_seconds: float = 15.0
    requests_per_second: int = 50
    request_burst: int = 100
    streams_per_caller: int = 20
    call_seconds: float = 25.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """Read ``PARLEY_*``.

        Raises:
            SystemExit: the database's URL is missing or a number is none; the message names the variable.
        """
        database_url = environment.get("PARLEY_DATABASE_URL", "")
        if not database_url:
            raise SystemExit(
                "PARLEY_DATABASE_URL is not set: the URL of the Postgres database, from a Secret"
            )

        def number(name: str, default: int) -> int:
            value = environment.get(name) or str(default)
            if not value.isdecimal():
                raise SystemExit(f"{name} must be a whole number, not {value!r}")
            return int(value)

        return cls(
            database_url=database_url,
            http_port=number("PARLEY_HTTP_PORT", 8080),
            pool_size=number("PARLEY_POOL_SIZE", 10),
            requests_per_second=number("PARLEY_REQUESTS_PER_SECOND", 50),
            request_burst=number("PARLEY_REQUEST_BURST", 100),
            streams_per_caller=number("PARLEY_STREAMS_PER_CALLER", 20),
        )

    def __repr__(self) -> str:
        """Everything but the database's URL."""
        return f"GatewaySettings(http_port={self.http_port}, pool_size={self.pool_size})"
