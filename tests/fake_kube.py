"""A ``KubeApi`` in memory, for unit tests: resourceVersions, uids, conflicts, not found, status apart from spec.

It keeps the rules a reconciler depends on and nothing else: no schemas, no garbage collection, no controllers.
``fail`` makes the next matching requests raise; ``requests`` tells what was asked, in order.
"""

import copy
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, cast

from parley.kube.client import JsonObject, Listing, Page, Propagation, TokenIdentity, collect
from parley.kube.errors import AlreadyExists, Conflict, Invalid, KubeError, NotFound
from parley.kube.kinds import PARLEY_GROUP, Kind
from parley.kube.people import AccessQuestion, Person
from pydantic import JsonValue

LOG = Kind("", "v1", "pods/log", "PodLog")
"""As which ``requests`` and ``fail`` know the reading of a log."""


class Request(NamedTuple):
    """One request as it arrived: the verb is the Kubernetes one (``patch`` for a status)."""

    verb: str
    kind: str
    namespace: str | None
    name: str


class FakeKube:
    """See the module. ``objects`` maps (kind, namespace, name) to the stored object."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str | None, str], JsonObject] = {}
        self.requests: list[Request] = []
        self.identities: dict[str, TokenIdentity] = {}
        self.logs: dict[tuple[str, str, str], str] = {}
        """By namespace, pod and container."""
        self.page_size = 500
        self.allowed: Callable[[AccessQuestion], bool] = lambda _question: False
        """What the API server answers to a SubjectAccessReview."""
        self.questions: list[AccessQuestion] = []
        self.impersonated: list[Person] = []
        """In whose name something was created, in order."""
        self.on_change: Callable[[str, Kind, JsonObject], None] = lambda _type, _kind, _body: None
        self._version = 0
        self._failures: list[tuple[str, str, KubeError]] = []

    def fail(self, error: KubeError, *, verb: str = "*", kind: str = "*", times: int = 1) -> None:
        """Raise ``error`` for the next ``times`` requests of this verb and kind."""
        self._failures += [(verb, kind, error)] * times

    def recover(self) -> None:
        """Forget the failures still planned."""
        self._failures.clear()

    def edit(
        self, kind: Kind, namespace: str | None, name: str, change: Callable[[JsonObject], None]
    ) -> JsonObject:
        """Change an object as somebody else would; its generation rises when the spec differs."""
        stored = self.objects[kind.kind, namespace, name]
        before = copy.deepcopy(stored.get("spec"))
        change(stored)
        if stored.get("spec") != before:
            _metadata(stored)["generation"] = cast("int", _metadata(stored).get("generation", 1)) + 1
        return self._stored("MODIFIED", kind, stored)

    async def get(self, kind: Kind, namespace: str | None, name: str) -> JsonObject | None:
        self._arrive("get", kind, namespace, name)
        return copy.deepcopy(self.objects.get((kind.kind, namespace, name)))

    async def list(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Listing:
        return await collect(self.pages(kind, namespace=namespace, labels=labels, fields=fields))

    async def pages(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Page]:
        """Each page is a request; one that ``fail`` makes expire (410) begins the list again, as the live client."""
        position: int = 0
        found: Sequence[JsonObject] = ()
        while True:
            try:
                self._arrive("list", kind, namespace, "")
            except KubeError as error:
                if error.status != 410:
                    raise
                position = 0
                continue
            if position == 0:
                found = self._selected(kind, namespace, labels or {}, fields or {})
            end = position + self.page_size
            yield Page([*found[position:end]], str(self._version), position == 0)
            if end >= len(found):
                return
            position = end

    async def page(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        selector: str = "",
        fields: str = "",
        limit: int = 500,
        token: str = "",
    ) -> tuple[Sequence[JsonObject], str]:
        """The token is the position; of selectors only ``key=value`` is known, of those of fields ``path!=value``."""
        self._arrive("list", kind, namespace, "")
        if token and not token.isdecimal():
            raise Invalid(400, "BadRequest", "continue key is not valid")
        parts = [part for part in selector.split(",") if part]
        if not all("=" in part for part in parts):
            raise Invalid(400, "BadRequest", "unable to parse requirement: the label selector is malformed")
        wanted = dict(part.split("=", 1) for part in parts)
        barred = [part.split("!=", 1) for part in fields.split(",") if part]
        found = [
            body
            for body in self._selected(kind, namespace, wanted, {})
            if all(_field(body, path) != value for path, value in barred)
        ]
        begin = int(token or 0)
        return found[begin : begin + limit], str(begin + limit) if begin + limit < len(found) else ""

    async def create(
        self, kind: Kind, namespace: str | None, body: JsonObject, *, as_user: Person | None = None
    ) -> JsonObject:
        name = str(_metadata(body).get("name", ""))
        self._arrive("create", kind, namespace, name)
        if as_user is not None:
            self.impersonated.append(as_user)
        if (kind.kind, namespace, name) in self.objects:
            raise AlreadyExists(409, "AlreadyExists", f'{kind.plural} "{name}" already exists')
        return self._made(kind, namespace, name, body)

    def _made(self, kind: Kind, namespace: str | None, name: str, body: JsonObject) -> JsonObject:
        stored: JsonObject = {"apiVersion": kind.api_version, "kind": kind.kind, **copy.deepcopy(body)}
        if kind.group == PARLEY_GROUP:
            stored["status"] = {"observedGeneration": -1}
        _metadata(stored).update({"namespace": namespace, "uid": str(uuid.uuid4()), "generation": 1})
        _metadata(stored).setdefault("creationTimestamp", datetime.now(UTC).isoformat())
        if namespace is None:
            del _metadata(stored)["namespace"]
        self.objects[kind.kind, namespace, name] = stored
        return self._stored("ADDED", kind, stored)

    async def replace(self, kind: Kind, namespace: str | None, body: JsonObject) -> JsonObject:
        metadata = _metadata(body)
        name = str(metadata["name"])
        self._arrive("update", kind, namespace, name)
        if not metadata.get("resourceVersion"):
            raise ValueError("replace needs metadata.name and metadata.resourceVersion")
        stored = self._current(kind, namespace, name, str(metadata["resourceVersion"]))
        self.objects[kind.kind, namespace, name] = replacement = copy.deepcopy(body)
        if replacement.get("spec") != stored.get("spec"):
            _metadata(replacement)["generation"] = cast("int", _metadata(stored)["generation"]) + 1
        return self._stored("MODIFIED", kind, replacement)

    async def merge_patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        body: JsonObject,
        *,
        resource_version: str | None = None,
    ) -> JsonObject:
        self._arrive("patch", kind, namespace, name)
        stored = self.objects.get((kind.kind, namespace, name))
        if stored is None:
            raise NotFound(404, "NotFound", f'{kind.plural} "{name}" not found')
        if resource_version is not None:
            self._current(kind, namespace, name, resource_version)
        before = copy.deepcopy(stored)
        _merge(stored, copy.deepcopy(body))
        if stored.get("spec") != before.get("spec"):
            _metadata(stored)["generation"] = cast("int", _metadata(before).get("generation", 1)) + 1
        return copy.deepcopy(stored) if stored == before else self._stored("MODIFIED", kind, stored)

    async def apply_status(
        self, kind: Kind, namespace: str, name: str, status: JsonObject, *, resource_version: str
    ) -> JsonObject:
        self._arrive("patch", kind, namespace, name)
        stored = self._current(kind, namespace, name, resource_version)
        if stored.get("status") == status:
            return copy.deepcopy(stored)
        stored["status"] = copy.deepcopy(status)
        return self._stored("MODIFIED", kind, stored)

    async def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: JsonObject,
        *,
        uid: str | None,
        resource_version: str | None,
    ) -> JsonObject:
        """Lay ``body`` over the object: maps are merged, all else is replaced; it has no field managers.

        Without uid and version an object that is not there is made.
        """
        self._arrive("patch", kind, namespace, name)
        if uid is None and resource_version is None:
            known = self.objects.get((kind.kind, namespace, name))
            if known is None:
                named = {**_metadata(body), "name": name, "namespace": namespace}
                return self._made(kind, namespace, name, {**body, "metadata": named})
            uid, resource_version = str(_metadata(known)["uid"]), str(_metadata(known)["resourceVersion"])
        stored = self._current(kind, namespace, name, str(resource_version))
        if _metadata(stored)["uid"] != uid:
            raise Invalid(422, "Invalid", "metadata.uid: field is immutable")
        before = copy.deepcopy(stored)
        _lay_over(stored, copy.deepcopy(body))
        if stored == before:
            return copy.deepcopy(stored)
        return self._stored("MODIFIED", kind, stored)

    async def read_log(self, namespace: str, pod: str, container: str, *, limit: int) -> str | None:
        self._arrive("get", LOG, namespace, f"{pod}/{container}")
        log = self.logs.get((namespace, pod, container))
        return None if log is None else log.encode()[-limit:].decode(errors="replace")

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Propagation = "Background",
        grace: int | None = None,
    ) -> bool:
        del propagation, grace
        self._arrive("delete", kind, namespace, name)
        stored = self.objects.get((kind.kind, namespace, name))
        if stored is None:
            return False
        for what, wanted in (("uid", uid), ("resourceVersion", resource_version)):
            if wanted is not None and _metadata(stored)[what] != wanted:
                message = f"the {what} in the precondition ({wanted}) does not match the one in record"
                raise Conflict(409, "Conflict", message)
        del self.objects[kind.kind, namespace, name]
        self._stored("DELETED", kind, stored)
        return True

    async def review_token(self, token: str, audiences: Sequence[str]) -> TokenIdentity:
        self.requests.append(Request("create", "TokenReview", None, ""))
        self._maybe_fail("create", "TokenReview")
        identity = self.identities.get(token)
        if identity is None or (set(audiences) and not set(identity.audiences) & set(audiences)):
            return TokenIdentity(authenticated=False, error="invalid bearer token")
        return identity

    async def review_access(self, question: AccessQuestion) -> bool:
        self.requests.append(Request("create", "SubjectAccessReview", question.namespace or None, ""))
        self._maybe_fail("create", "SubjectAccessReview")
        self.questions.append(question)
        return self.allowed(question)

    async def close(self) -> None:
        """Nothing is open."""

    def _selected(
        self,
        kind: Kind,
        namespace: str | None,
        labels: Mapping[str, str],
        fields: Mapping[str, str],
    ) -> Sequence[JsonObject]:
        return [
            copy.deepcopy(body)
            for (stored_kind, stored_namespace, _), body in sorted(
                self.objects.items(), key=lambda item: str(item[0])
            )
            if stored_kind == kind.kind
            and namespace in {None, stored_namespace}
            and labels.items() <= cast("dict[str, str]", _metadata(body).get("labels") or {}).items()
            and all(_field(body, path) == value for path, value in fields.items())
        ]

    def _current(self, kind: Kind, namespace: str | None, name: str, resource_version: str) -> JsonObject:
        stored = self.objects.get((kind.kind, namespace, name))
        if stored is None:
            raise NotFound(404, "NotFound", f'{kind.plural} "{name}" not found')
        if _metadata(stored)["resourceVersion"] != resource_version:
            message = f'Operation cannot be fulfilled on {kind.plural} "{name}": the object has been modified'
            raise Conflict(409, "Conflict", message)
        return stored

    def _stored(self, change: str, kind: Kind, body: JsonObject) -> JsonObject:
        self._version += 1
        _metadata(body)["resourceVersion"] = str(self._version)
        self.on_change(change, kind, copy.deepcopy(body))
        return copy.deepcopy(body)

    def _arrive(self, verb: str, kind: Kind, namespace: str | None, name: str) -> None:
        if namespace and not kind.namespaced:
            raise ValueError(f"{kind.kind} is not namespaced")
        self.requests.append(Request(verb, kind.kind, namespace, name))
        self._maybe_fail(verb, kind.kind)

    def _maybe_fail(self, verb: str, kind: str) -> None:
        for index, (failing_verb, failing_kind, error) in enumerate(self._failures):
            if failing_verb in {"*", verb} and failing_kind in {"*", kind}:
                del self._failures[index]
                raise error


def _metadata(body: JsonObject) -> JsonObject:
    return cast("JsonObject", body.setdefault("metadata", {}))


def _field(body: JsonObject, path: str) -> JsonValue:
    value: JsonValue = body
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _merge(stored: JsonObject, body: JsonObject) -> None:
    """RFC 7386: null removes."""
    for key, value in body.items():
        known = stored.get(key)
        if value is None:
            stored.pop(key, None)
        elif isinstance(known, dict) and isinstance(value, dict):
            _merge(known, value)
        elif isinstance(value, dict):
            stored[key] = {}
            _merge(cast("JsonObject", stored[key]), value)
        else:
            stored[key] = value


def _lay_over(stored: JsonObject, body: JsonObject) -> None:
    for key, value in body.items():
        known = stored.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            _lay_over(known, value)
        else:
            stored[key] = value
