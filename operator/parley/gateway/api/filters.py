"""Which Sessions of a list are wanted, beyond what the API server can select by."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from parley.gateway.access.refusal import bad_request
from parley.kube.client import JsonObject
from parley.resources.session import SessionPhase


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """What must fit.

    Attributes:
        metadata: entries of ``spec.metadata``.
        state: ``status.phase``; one that was not seen yet is Pending.
        users: ids, each of one of the people the agent talks with.
    """

    metadata: Mapping[str, str]
    state: SessionPhase | None
    users: frozenset[str]

    def __bool__(self) -> bool:
        """Whether any Session may not fit."""
        return bool(self.metadata or self.state or self.users)

    def to_json(self) -> JsonObject:
        """The same text in every process, for tokens of pages."""
        return {"metadata": dict(self.metadata), "state": self.state, "users": [*sorted(self.users)]}

    def fits(self, body: JsonObject) -> bool:
        """Tell whether a Session is wanted."""
        spec = _entries(body.get("spec"))
        if not self.metadata.items() <= _entries(spec.get("metadata")).items():
            return False
        phase = _entries(body.get("status")).get("phase") or SessionPhase.PENDING
        if self.state is not None and phase != self.state:
            return False
        return not self.users or self.users <= _people(spec)


def _people(spec: Mapping[str, JsonValue]) -> set[str]:
    """Ids of a spec's people, of one that may be unreadable besides."""
    people = [_entries(spec.get("user"))]
    users = spec.get("users")
    if isinstance(users, list):
        people += [_entries(one) for one in users]
    return {one for one in (each.get("id") for each in people) if isinstance(one, str)}


def _entries(value: JsonValue) -> Mapping[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def read_pairs(field: str, given: Iterable[str]) -> dict[str, str]:
    """Read ``key=value`` of a query.

    Raises:
        Refusal: one has no ``=`` (400).
    """
    pairs: dict[str, str] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise bad_request(field, f"{field} must be key=value")
        pairs[key] = value
    return pairs
