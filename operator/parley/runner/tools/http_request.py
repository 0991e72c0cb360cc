"""The request that a call of an http tool makes: its templates, rendered."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from pydantic import JsonValue

from parley.resources.tools import HttpTool
from parley.runner.text import storable
from parley.runner.tools.errors import ToolProblem
from parley.runner.tools.headers import render_headers
from parley.runner.tools.secrets import ToolSecrets
from parley.templates.errors import TemplateError
from parley.templates.render import render_url, render_value

IDEMPOTENCY_HEADER = "Idempotency-Key"
_ORIGIN = re.compile(r"https?://[^/{}\s@?#\\]+(?=[/?]|$)", re.IGNORECASE)
_WAYS_UP = frozenset({".", ".."})
_SENDS_ARGUMENTS = frozenset({"POST", "PUT", "PATCH"})


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One request, ready to be sent."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None
    origin: str
    """Scheme, host and port, as the Agent has them: all of the url that messages tell."""


def render_call(
    http: HttpTool, scope: Mapping[str, JsonValue], secrets: ToolSecrets, key: str, path: str
) -> HttpCall:
    """Render a tool's request; takes as long as its templates do.

    Args:
        http: the tool.
        scope: what its templates know, ``arguments`` among it.
        secrets: of its headers.
        key: sent as idempotency key.
        path: of the tool, for messages.

    Raises:
        ToolProblem: the request cannot be made; the text says why and what to do.
    """
    try:
        url, origin = _url(http.url, scope, f"{path}.url")
        headers = render_headers(http.headers, scope, secrets, f"{path}.headers")
        content, content_type = _content(http, scope, f"{path}.body")
    except TemplateError as error:
        raise ToolProblem(f"{error}; what it was given does not fit its template") from error
    given = {name.lower() for name in headers}
    if content is not None and "content-type" not in given:
        headers["Content-Type"] = content_type
    if "accept" not in given:
        headers["Accept"] = "application/json, text/*;q=0.9, */*;q=0.1"
    headers = {name: value for name, value in headers.items() if name.lower() != IDEMPOTENCY_HEADER.lower()}
    headers[IDEMPOTENCY_HEADER] = key
    return HttpCall(http.method, url, headers, content, origin)


def _url(template: str, scope: Mapping[str, JsonValue], path: str) -> tuple[str, str]:
    """Render the url; whatever the arguments are, it keeps the host and the path that the Agent has written."""
    origin = _ORIGIN.match(template)
    if origin is None:
        raise ToolProblem(
            f"{path} must begin with http:// or https:// and a host that is written out, without a user name; "
            "templates only after the / or ? behind it: correct the Agent"
        )
    url = render_url(template, scope, path)
    if _ORIGIN.match(url) is None or not url.startswith(origin[0]):
        raise ToolProblem(f"{path} would go to another host than the Agent says: use other arguments")
    if _leads_up(url.removeprefix(origin[0])):
        raise ToolProblem(f"{path} would get a path with the segment '.' or '..': use other arguments")
    return url, origin[0]


def _leads_up(target: str) -> bool:
    """Whether a path, as any server might decode it, has a segment that means the folder above."""
    path = re.split(r"[?#]", target, maxsplit=1)[0]
    while True:
        # Parameters of a segment (..;x) are dropped by some servers before they look at it.
        if any(part.partition(";")[0] in _WAYS_UP for part in re.split(r"[/\\]", path)):
            return True
        decoded = unquote(path)
        if decoded == path:
            return False
        path = decoded


def _content(http: HttpTool, scope: Mapping[str, JsonValue], path: str) -> tuple[bytes | None, str]:
    if http.body is not None:
        body = storable(render_value(http.body, scope, path))
        if isinstance(body, str):
            return body.encode(), "text/plain; charset=utf-8"
        return _json(body), "application/json"
    if http.method in _SENDS_ARGUMENTS:
        return _json(storable(scope["arguments"])), "application/json"
    return None, ""


def _json(value: JsonValue) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
