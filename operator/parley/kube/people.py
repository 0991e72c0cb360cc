"""People as the API server knows them: what they may do, and how somebody acts in their name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from pydantic import JsonValue

MASTERS = "system:masters"
_NEVER_SENT = frozenset({MASTERS, "system:authenticated"})


@dataclass(frozen=True, slots=True)
class Person:
    """A user as a TokenReview names one.

    Attributes:
        extra: what the authenticator knows besides, such as a token's scopes; RBAC ignores it, webhooks may not.
    """

    username: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    @property
    def is_service_account(self) -> bool:
        """Whether it is a pod's, not a person's."""
        return self.username.startswith("system:serviceaccount:")

    def impersonation(self) -> Iterator[tuple[str, str]]:
        """The headers with which a request is made in this person's name, each group in one of its own.

        Of a service account only the name is sent: the API server adds its groups, and takes a request that names
        them for an impersonation without limits. Everybody is in ``system:authenticated`` anyway, and nobody may
        be in ``system:masters`` so. Uid and extra are left out: RBAC looks at neither, and the right to set an extra
        must name its key.
        """
        yield "Impersonate-User", self.username
        if not self.is_service_account:
            for group in self.groups:
                if group not in _NEVER_SENT:
                    yield "Impersonate-Group", group


@dataclass(frozen=True, slots=True)
class AccessQuestion:
    """May this person do that? A SubjectAccessReview.

    Attributes:
        verb: as RBAC names it, such as ``get`` or ``create``.
        namespace: empty for all of them.
        name: empty for a whole collection.
    """

    person: Person
    verb: str
    group: str
    resource: str
    namespace: str = ""
    subresource: str = ""
    name: str = ""

    def spec(self) -> dict[str, JsonValue]:
        """The review's spec."""
        person = self.person
        attributes: dict[str, JsonValue] = {
            "verb": self.verb,
            "group": self.group,
            "resource": self.resource,
            "namespace": self.namespace,
            "subresource": self.subresource,
            "name": self.name,
        }
        return {
            "user": person.username,
            "uid": person.uid,
            "groups": list(person.groups),
            "extra": {key: list(values) for key, values in person.extra.items()},
            "resourceAttributes": {key: value for key, value in attributes.items() if value},
        }


def is_allowed(answer: Mapping[str, JsonValue]) -> bool:
    """Read a review's answer: allowed, and not denied by an authorizer that may say no."""
    status = cast("Mapping[str, JsonValue]", answer.get("status") or {})
    return status.get("allowed") is True and status.get("denied") is not True
