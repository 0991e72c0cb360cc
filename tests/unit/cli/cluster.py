"""A cluster in memory, as the CLI sees one; ``on_write`` plays the operator."""

import copy
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from parley.cli.kube import Change, Listed, LogLine, Right
from parley.kube.client import JsonObject
from parley.kube.errors import AlreadyExists, Forbidden, KubeError, NotFound
from parley.kube.kinds import Kind

CREATED = "2026-11-23T10:00:00Z"


class FakeCluster:
    """It knows label selectors ``a``, ``a=b`` and ``a in (b,c)``, and field selectors ``path=value``.

    Attributes:
        on_write: called with the kind and the object after each create and patch; what it changes is stored.
        forbidden: (verb, plural) that the caller may not do.
        denied: rights that a review denies.
        watchers: the threads that watch, by label selector.
        logs: by pod and container.
        pods_say: by pod, what it answers to a probe, or why it was not asked.
    """

    def __init__(self, namespace: str = "shop") -> None:
        self.namespace = namespace
        self.server = "https://cluster.test"
        self.objects: dict[tuple[str, str, str], JsonObject] = {}
        self.on_write: Callable[[Kind, JsonObject], None] = lambda _kind, _body: None
        self.forbidden: set[tuple[str, str]] = set()
        self.denied: set[Right] = set()
        self.watchers: dict[str, set[int]] = {}
        self.logs: dict[tuple[str, str], list[str]] = {}
        self.pods_say: dict[str, tuple[int, str] | KubeError] = {}
        self.user_token: str | None = "token-of-the-user"
        self.server_version = "v1.37.2"
        self.away: KubeError | None = None
        self._changes: list[tuple[int, str, Change]] = []
        self._version = 0
        self._changed = threading.Condition()

    def put(self, kind: Kind, name: str, namespace: str | None = "shop", **body: Any) -> JsonObject:
        """Store an object as it is; returns it."""
        metadata = {"name": name, "uid": str(uuid.uuid4()), "creationTimestamp": CREATED} | body.pop(
            "metadata", {}
        )
        if namespace:
            metadata["namespace"] = namespace
        whole: JsonObject = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **body}
        self._store("ADDED", kind, namespace, name, whole)
        return whole

    def update(self, kind: Kind, name: str, namespace: str = "shop", **parts: Any) -> None:
        """Replace parts of an object, as the operator does with its status."""
        stored = copy.deepcopy(self.objects[kind.kind, namespace, name])
        stored.update(parts)
        self._store("MODIFIED", kind, namespace, name, stored)

    def remove(self, kind: Kind, name: str, namespace: str = "shop") -> None:
        """Delete an object."""
        with self._changed:
            body = self.objects.pop((kind.kind, namespace, name))
            self._tell("DELETED", kind, body)

    def version(self) -> str:
        self._arrive("get", "version")
        return self.server_version

    def get(self, kind: Kind, namespace: str | None, name: str) -> JsonObject:
        self._arrive("get", kind.plural)
        found = self.objects.get((kind.kind, namespace or "", name))
        if found is None:
            raise NotFound(404, "NotFound", f'{kind.plural}.{kind.group} "{name}" not found')
        return copy.deepcopy(found)

    def list(self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "") -> Listed:
        self._arrive("list", kind.plural)
        found = [
            copy.deepcopy(body)
            for (stored, where, _), body in sorted(self.objects.items())
            if stored == kind.kind
            and namespace in {None, where}
            and _has_labels(body, labels)
            and _has_fields(body, fields)
        ]
        return Listed(found, str(self._version))

    def create(self, kind: Kind, namespace: str | None, body: JsonObject) -> JsonObject:
        self._arrive("create", kind.plural)
        name = body["metadata"]["name"]
        if (kind.kind, namespace or "", name) in self.objects:
            raise AlreadyExists(409, "AlreadyExists", f'{kind.plural} "{name}" already exists')
        made = self.put(kind, name, namespace, **copy.deepcopy(body))
        return self._written(kind, namespace or "", made)

    def patch(self, kind: Kind, namespace: str | None, name: str, change: JsonObject) -> JsonObject:
        self._arrive("patch", kind.plural)
        stored = self.get(kind, namespace, name)
        _merge(stored, change)
        self._store("MODIFIED", kind, namespace, name, stored)
        return self._written(kind, namespace or "", stored)

    def watch(
        self,
        kind: Kind,
        namespace: str | None,
        version: str,
        *,
        labels: str = "",
        fields: str = "",
        seconds: int | None = None,
    ) -> Iterator[Change]:
        """What came after a version; it ends soon when nothing more comes, as a watch does that the server ends."""
        del namespace, seconds
        self._arrive("watch", kind.plural)
        self.watchers.setdefault(labels, set()).add(threading.get_ident())
        seen = int(version)
        while True:
            with self._changed:
                news = [
                    (number, change)
                    for number, plural, change in self._changes
                    if number > seen
                    and plural == kind.plural
                    and _has_labels(change.body, labels)
                    and _has_fields(change.body, fields)
                ]
                if not news and not self._changed.wait(0.05):
                    return
            for number, change in news:
                seen = number
                yield Change(change.type, copy.deepcopy(change.body))

    def may(self, right: Right, namespace: str | None) -> bool:
        del namespace
        return right not in self.denied

    def log(self, namespace: str, pod: str, container: str, *, tail: int | None) -> Iterator[str]:
        del namespace
        lines = self.logs.get((pod, container), [])
        yield from lines if tail is None else lines[-tail:]

    def follow_log(
        self, namespace: str, pod: str, container: str, *, tail: int | None, since: str = ""
    ) -> Iterator[LogLine]:
        """Each line has a second of its own."""
        for number, line in enumerate(self.log(namespace, pod, container, tail=None if since else tail)):
            written = f"2026-11-23T10:00:{number:02}.000000000Z"
            if written >= since:
                yield LogLine(written, line)

    def ask_pod(self, namespace: str, pod: str, port: int, path: str) -> tuple[int, str]:
        del namespace
        self._arrive("get", "pods/proxy")
        assert (port, path) == (8080, "/readyz")
        said = self.pods_say.get(pod, (200, "ok"))
        if isinstance(said, KubeError):
            raise said
        return said

    def token(self) -> str | None:
        self._arrive("get", "token")
        return self.user_token

    def service_account_token(self, namespace: str, name: str) -> str:
        return f"token-of-{namespace}-{name}"

    def arguments(self) -> Mapping[str, str]:
        return {}

    def _arrive(self, verb: str, plural: str) -> None:
        if self.away is not None:
            raise self.away
        if (verb, plural) in self.forbidden:
            raise Forbidden(
                403, "Forbidden", f'{plural} is forbidden: User "eve" cannot {verb} resource "{plural}"'
            )

    def _written(self, kind: Kind, namespace: str, body: JsonObject) -> JsonObject:
        self.on_write(kind, body)
        return copy.deepcopy(self.objects[kind.kind, namespace, body["metadata"]["name"]])

    def _store(self, change: str, kind: Kind, namespace: str | None, name: str, body: JsonObject) -> None:
        with self._changed:
            self.objects[kind.kind, namespace or "", name] = body
            self._tell(change, kind, body)

    def _tell(self, change: Any, kind: Kind, body: JsonObject) -> None:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self._changes.append((self._version, kind.plural, Change(change, copy.deepcopy(body))))
        self._changed.notify_all()


def _merge(stored: JsonObject, change: JsonObject) -> None:
    for key, value in change.items():
        if isinstance(value, dict):
            _merge(stored.setdefault(key, {}), value)
        else:
            stored[key] = value


def _has_labels(body: JsonObject, selector: str) -> bool:
    labels = body["metadata"].get("labels", {})
    parts = selector.replace(" in (", "\0in\0").split(",") if " in (" not in selector else [selector]
    for part in filter(None, parts):
        if " in (" in part:
            first, _, values = part.rpartition(" in (")
            *equal, key = first.split(",")
            if labels.get(key) not in values.rstrip(")").split(",") or not _has_labels(body, ",".join(equal)):
                return False
        else:
            key, equals, value = part.partition("=")
            if key not in labels or (equals and labels[key] != value):
                return False
    return True


def _has_fields(body: JsonObject, selector: str) -> bool:
    for part in filter(None, selector.split(",")):
        path, _, value = part.partition("=")
        found: Any = body
        for key in path.split("."):
            found = found.get(key, {}) if isinstance(found, dict) else {}
        if found != value:
            return False
    return True


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    """A condition of a status."""
    return {"type": kind, "status": status, "reason": reason, "message": message}


def ended(phase: str, reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    """A Task's status at its end."""
    verdict = condition("Succeeded", "True" if phase == "Succeeded" else "False", reason, message)
    return {"phase": phase, "conditions": [verdict], "progress": "1/1", **more}
