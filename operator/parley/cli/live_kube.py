"""The CLI's way to an API server: the official client's synchronous transport, with the user's kubeconfig.

Kinds are known beforehand, so there is no discovery.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import urllib3
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from pydantic import JsonValue

from parley.cli.failures import CliError, NoCluster
from parley.cli.kube import Change, Listed, LogLine, Right
from parley.cli.kubeconfig import listening_to_complaints, read_kubeconfig
from parley.cli.reading import dig, mapping, objects, text
from parley.kube.client import JsonObject
from parley.kube.errors import Invalid, KubeError, KubeUnavailable, NotFound, error_for
from parley.kube.kinds import POD, Kind

FIELD_MANAGER = "parley-cli"
CONNECT_SECONDS = 5
REQUEST_SECONDS = 30
WATCH_SECONDS = 300
_PAGE = 500
_RELISTS = 3
_JSON = "application/json"
_MERGE = "application/merge-patch+json"


class _Answer(Protocol):
    """The package's answer, as far as it is used here."""

    status: int
    reason: str | None
    response: urllib3.BaseHTTPResponse

    @property
    def headers(self) -> Mapping[str, str]: ...


class LiveKube:
    """``Kube`` against a real API server."""

    def __init__(
        self, client: ApiClient, configuration: Configuration, namespace: str, arguments: Mapping[str, str]
    ) -> None:
        self._client = cast("Any", client)  # its methods carry no types
        self._configuration = cast("Any", configuration)
        self._namespace = namespace
        self._arguments = arguments

    @classmethod
    def open(cls, path: str | None, context: str | None) -> "LiveKube":
        """A client for a kubeconfig; without one, for the pod's service account.

        Raises:
            CliError: there is neither, or the login failed.
        """
        if path is not None and not Path(path).is_file():
            raise CliError(f"--kubeconfig {path}: there is no such file", "give the path of a kubeconfig")
        try:
            configuration, namespace, arguments = read_kubeconfig(path, context)
        except CliError:
            raise
        except Exception as error:  # the package lets a malformed file raise whatever its code trips over
            raise NoCluster(
                f"there is no way to a cluster: {error}",
                "set KUBECONFIG to a kubeconfig, or look at its contexts: kubectl config get-contexts. "
                "What the gateway alone can do: docs/cli.md#without-rights-in-kubernetes",
            ) from error
        # Its own retries would hide for seconds that a server is away.
        configuration.retries = False
        # Watches run side by side.
        configuration.connection_pool_maxsize = 32
        return cls(ApiClient(configuration), configuration, namespace, arguments)

    @property
    def namespace(self) -> str:
        """See ``Kube``."""
        return self._namespace

    @property
    def server(self) -> str:
        """See ``Kube``."""
        return str(self._configuration.host)

    def arguments(self) -> Mapping[str, str]:
        """See ``Kube``."""
        return self._arguments

    def version(self) -> str:
        """See ``Kube``."""
        return text(self._request("GET", "/version"), "gitVersion")

    def get(self, kind: Kind, namespace: str | None, name: str) -> JsonObject:
        """See ``Kube``."""
        return self._request("GET", _path(kind, namespace, name))

    def list(self, kind: Kind, namespace: str | None = None, *, labels: str = "", fields: str = "") -> Listed:
        """See ``Kube``."""
        query = [("limit", str(_PAGE)), *_selectors(labels, fields)]
        path = _path(kind, namespace)
        for _ in range(_RELISTS):
            items: list[JsonObject] = []
            token = ""
            try:
                while True:
                    page = self._request(
                        "GET", path, query=[*query, *([("continue", token)] if token else [])]
                    )
                    items += objects(page, "items")
                    token = text(page, "metadata", "continue")
                    if not token:
                        for item in items:
                            # A list says it once, for all.
                            item.setdefault("apiVersion", kind.api_version)
                            item.setdefault("kind", kind.kind)
                        return Listed(items, text(page, "metadata", "resourceVersion"))
            except KubeError as error:
                # 410: the list's snapshot was compacted away between two pages.
                if error.status != 410:
                    raise
        raise KubeUnavailable(410, "Expired", f"the list of {kind.plural} expired while it was read")

    def create(self, kind: Kind, namespace: str | None, body: JsonObject) -> JsonObject:
        """See ``Kube``."""
        full: JsonObject = {"apiVersion": kind.api_version, "kind": kind.kind, **body}
        query = [("fieldManager", FIELD_MANAGER), ("fieldValidation", "Strict")]
        return self._request("POST", _path(kind, namespace), query=query, body=full)

    def patch(self, kind: Kind, namespace: str | None, name: str, change: JsonObject) -> JsonObject:
        """See ``Kube``."""
        query = [("fieldManager", FIELD_MANAGER), ("fieldValidation", "Strict")]
        path = _path(kind, namespace, name)
        return self._request("PATCH", path, query=query, body=change, content_type=_MERGE)

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
        """See ``Kube``."""
        limit = seconds or WATCH_SECONDS
        query = [
            ("watch", "true"),
            ("resourceVersion", version),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(limit)),
            *_selectors(labels, fields),
        ]
        path = _path(kind, namespace)
        answer = self._send("GET", path, query=query, seconds=limit + 30)
        if answer.status != 200:
            _decode(answer, answer.response.data, f"watch {path}")
        for line in _lines(answer.response, path):
            told = cast("JsonValue", json.loads(line))
            body = mapping(told, "object")
            if text(told, "type") == "ERROR":
                raise error_for(int(text(body, "code") or 500), text(body, "reason"), text(body, "message"))
            if text(told, "type") != "BOOKMARK":
                yield Change(cast("Any", text(told, "type")), body)

    def may(self, right: Right, namespace: str | None) -> bool:
        """See ``Kube``."""
        attributes: JsonObject = {"verb": right.verb, "group": right.group, "resource": right.resource}
        if namespace:
            attributes["namespace"] = namespace
        if right.subresource:
            attributes["subresource"] = right.subresource
        body: JsonObject = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = self._request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=body)
        return dig(answer, "status", "allowed") is True

    def log(self, namespace: str, pod: str, container: str, *, tail: int | None) -> Iterator[str]:
        """See ``Kube``."""
        query = [("tailLines", str(tail))] if tail is not None else []
        return self._log(namespace, pod, container, query, REQUEST_SECONDS)

    def follow_log(
        self, namespace: str, pod: str, container: str, *, tail: int | None, since: str = ""
    ) -> Iterator[LogLine]:
        """See ``Kube``."""
        query = [("follow", "true"), ("timestamps", "true")]
        if since:
            query.append(("sinceTime", since))
        elif tail is not None:
            query.append(("tailLines", str(tail)))
        for line in self._log(namespace, pod, container, query, None):
            written, _, said = line.partition(" ")
            yield LogLine(written, said)

    def _log(
        self,
        namespace: str,
        pod: str,
        container: str,
        query: Sequence[tuple[str, str]],
        seconds: float | None,
    ) -> Iterator[str]:
        path = _path(POD, namespace, pod, "log")
        query = [("container", container), *query]
        answer = self._send("GET", path, query=query, seconds=seconds, accept="*/*")
        if answer.status != 200:
            try:
                _decode(answer, answer.response.data, f"GET {path}")
            except (NotFound, Invalid):
                # The pod is gone, or its container never ran.
                return
        yield from (line.decode(errors="replace") for line in _lines(answer.response, path))

    def ask_pod(self, namespace: str, pod: str, port: int, path: str) -> tuple[int, str]:
        """See ``Kube``."""
        # Their probes have five seconds.
        answer = self._send(
            "GET", f"{_path(POD, namespace, pod)}:{port}/proxy{path}", seconds=10, accept="*/*"
        )
        try:
            raw = answer.response.data
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable("GET", path, error) from error
        said = raw.decode(errors="replace")
        if answer.status >= 400 and said.startswith('{"kind":"Status"'):
            # The API server's own words, not the pod's.
            _decode(answer, raw, f"GET {path}")
        return answer.status, said

    def token(self) -> str | None:
        """See ``Kube``."""
        with listening_to_complaints() as complaints:
            whole = self._configuration.get_api_key_with_prefix("BearerToken")
        if complaints.said:
            raise CliError(f"the kubeconfig's login failed: {complaints.said[-1]}", "log in again")
        scheme, _, token = (whole or "").partition(" ")
        return token if scheme == "Bearer" and token else None

    def service_account_token(self, namespace: str, name: str) -> str:
        """See ``Kube``."""
        body: JsonObject = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        }
        account = Kind("", "v1", "serviceaccounts", "ServiceAccount")
        answer = self._request("POST", _path(account, namespace, name, "token"), body=body)
        return text(answer, "status", "token")

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: JsonObject | None = None,
        content_type: str = _JSON,
    ) -> JsonObject:
        answer = self._send(method, path, query=query, body=body, content_type=content_type)
        try:
            raw = answer.response.data
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(method, path, error) from error
        return _decode(answer, raw, f"{method} {path}")

    def _send(
        self,
        method: str,
        path: str,
        *,
        query: Sequence[tuple[str, str]] = (),
        body: JsonObject | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        seconds: float | None = REQUEST_SECONDS,
    ) -> _Answer:
        try:
            request = self._client.param_serialize(
                method,
                path,
                query_params=list(query),
                header_params={"Accept": accept, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            return self._client.call_api(*request, _request_timeout=(CONNECT_SECONDS, seconds))
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise self._unreachable(method, path, error) from error

    def _unreachable(self, method: str, path: str, error: Exception) -> KubeUnavailable:
        why = str(error).splitlines()[-1] if str(error) else type(error).__name__
        message = f"the API server {self.server} does not answer {method} {path}: {why}"
        return KubeUnavailable(0, "Unreachable", message)


def _path(kind: Kind, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
    try:
        return kind.path(namespace, name, subresource)
    except ValueError as error:
        raise CliError(str(error), "names are lower-case letters, digits, - and .") from error


def _selectors(labels: str, fields: str) -> list[tuple[str, str]]:
    return [(key, value) for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value]


def _lines(response: urllib3.BaseHTTPResponse, path: str) -> Iterator[bytes]:
    """The lines of an answer as they come; a connection that breaks ends them."""
    pending = b""
    try:
        for chunk in response.stream(None):
            *whole, pending = (pending + chunk).split(b"\n")
            yield from (line for line in whole if line)
    except urllib3.exceptions.ReadTimeoutError as error:
        raise KubeUnavailable(0, "Timeout", f"nothing came of {path} for too long") from error
    except urllib3.exceptions.HTTPError:
        return
    finally:
        response.release_conn()
    if pending:
        yield pending


def _decode(answer: _Answer, raw: bytes, what: str) -> JsonObject:
    try:
        decoded: JsonValue = json.loads(raw) if raw else {}
    except ValueError:
        decoded = None
    if 200 <= answer.status < 300:
        if isinstance(decoded, dict):
            return decoded
        message = f"the answer to {what} is no JSON object; is something between here and the API server?"
        raise KubeUnavailable(answer.status, "BadAnswer", message)
    message = text(decoded, "message") or raw[:200].decode(errors="replace") or str(answer.reason)
    raise error_for(answer.status, text(decoded, "reason") or str(answer.reason or "Unknown"), message)
