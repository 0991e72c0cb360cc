"""People as the API server knows them: what they may do, and how somebody acts in their name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import quote

from pydantic import JsonValue


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

    def impersonation(self) -> Iterator[tuple[str, str]]:
        """The headers with which a request is made in this person's name.

        Each group, and each value of an extra, is a header of its own.
        """
        yield "Impersonate-User", self.username
        for group in self.groups:
            yield "Impersonate-Group", group
        if self.uid:
            yield "Impersonate-Uid", self.uid
        for key, values in self.extra.items():
            # Header names have neither capitals nor slashes; the API server takes percent-encoded ones.
            name = f"Impersonate-Extra-{quote(key.lower(), safe='')}"
            for value in values:
                yield name, value


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
