"""A hundred hostile requests, and what each is answered. Written down as bytes, or as near to them as reads well."""

import base64
import json
from typing import Any, NamedTuple

ANN = "token-of-ann"
LIST = "/v1/namespaces/shop/sessions"
FIRST = f"{LIST}/first"
CONTEXT = f"{FIRST}/context"
MESSAGES = f"{FIRST}/messages"
REPLIES = "/v1/namespaces/shop/replies"
MIB = 1024 * 1024


class Hostile(NamedTuple):
    """A request, and the status and reason of its answer; reason None: refused below the API, by the HTTP server."""

    what: str
    request: bytes
    status: int
    reason: str | None


def raw(
    method: str,
    target: str | bytes,
    *headers: str | bytes,
    body: bytes | None = None,
    token: str | bytes | None = ANN,
    length: bool = True,
) -> bytes:
    """Write a request down; ``token`` None leaves the header out."""
    path = target if isinstance(target, bytes) else target.encode()
    lines: list[bytes] = [method.encode() + b" " + path + b" HTTP/1.1", b"Host: gateway"]
    if token is not None:
        lines.append(b"Authorization: Bearer " + (token if isinstance(token, bytes) else token.encode()))
    lines += [header if isinstance(header, bytes) else header.encode() for header in headers]
    if body is not None and length:
        lines.append(f"Content-Length: {len(body)}".encode())
    return b"\r\n".join([*lines, b"", body or b""])


def sent(target: str, body: Any, *headers: str | bytes, method: str = "POST") -> bytes:
    """Send JSON, or bytes as if they were."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return raw(method, target, "Content-Type: application/json", *headers, body=content)


def patched(body: Any, *headers: str | bytes) -> bytes:
    return sent(CONTEXT, body, *headers, method="PATCH")


def jwt(**claims: Any) -> str:
    """A token as some other issuer would sign it."""
    parts = ({"alg": "none"}, claims)
    text = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )
    return f"{text}."


def page(**token: Any) -> str:
    encoded = base64.urlsafe_b64encode(json.dumps(token).encode()).decode().rstrip("=")
    return f"{LIST}?pageToken={encoded}"


TOKENS = [
    Hostile("no token", raw("GET", LIST, token=None), 401, "Unauthenticated"),
    Hostile("an empty token", raw("GET", LIST, token=""), 401, "Unauthenticated"),
    Hostile("a token of blanks", raw("GET", LIST, token="   "), 401, "Unauthenticated"),
    Hostile("a token nobody knows", raw("GET", LIST, token="stranger"), 401, "Unauthenticated"),
    Hostile("a step pod's token", raw("GET", LIST, token="token-of-a-step"), 401, "Unauthenticated"),
    Hostile("another issuer's token", raw("GET", LIST, token=jwt(iss="x", sub="ann")), 401, "Unauthenticated"),
    Hostile("an expired token", raw("GET", LIST, token=jwt(sub="ann", exp=1)), 401, "Unauthenticated"),
    Hostile("a token of 20 kB", raw("GET", LIST, token="x" * 20_000), 401, "Unauthenticated"),
    Hostile("a token beyond ASCII", raw("GET", LIST, token="zoë"), 401, "Unauthenticated"),
    Hostile("a token that is no UTF-8", raw("GET", LIST, token=b"\xff\xfe"), 401, "Unauthenticated"),
    Hostile("a token with a tab", raw("GET", LIST, token="token-of\tann"), 401, "Unauthenticated"),
    Hostile("a token with a blank", raw("GET", LIST, token="token-of-ann x"), 401, "Unauthenticated"),
    Hostile("two tokens in one header", raw("GET", LIST, token="token-of-ann, x"), 401, "Unauthenticated"),
    Hostile("a good token as Basic", raw("GET", LIST, f"Authorization: Basic {ANN}", token=None), 401, "Unauthenticated"),
    Hostile("a good token without a scheme", raw("GET", LIST, f"Authorization: {ANN}", token=None), 401, "Unauthenticated"),
    Hostile("a good token in the query", raw("GET", f"{LIST}?access_token={ANN}", token=None), 401, "Unauthenticated"),
    Hostile("a good token in a cookie", raw("GET", LIST, f"Cookie: token={ANN}", token=None), 401, "Unauthenticated"),
    Hostile("the header twice", raw("GET", LIST, "Authorization: Bearer x"), 400, "BadRequest"),
    Hostile("an impersonation", raw("GET", LIST, "Impersonate-User: ann", token="token-of-nobody"), 404, "NotFound"),
    Hostile("a user named in a proxy's header", raw("GET", LIST, "X-Remote-User: ann", token="token-of-nobody"), 404, "NotFound"),
]  # fmt: skip

NAMES = [
    Hostile("somebody who may see nothing", raw("GET", FIRST, token="token-of-nobody"), 404, "NotFound"),
    Hostile("a Session that is not there", raw("GET", f"{LIST}/none"), 404, "NotFound"),
    Hostile("another namespace", raw("GET", "/v1/namespaces/kube-system/sessions"), 404, "NotFound"),
    Hostile("two dots", raw("GET", f"{LIST}/.."), 422, "Invalid"),
    Hostile("two dots in the namespace", raw("GET", "/v1/namespaces/../sessions"), 422, "Invalid"),
    Hostile("encoded dots", raw("GET", f"{LIST}/%2e%2e"), 422, "Invalid"),
    Hostile("dots encoded twice", raw("GET", f"{LIST}/%252e%252e"), 422, "Invalid"),
    Hostile("an encoded slash", raw("GET", f"{LIST}/first%2fcontext"), 200, None),
    Hostile("an encoded way up", raw("GET", f"{LIST}/%2e%2e%2ftasks"), 422, "Invalid"),
    Hostile("a backslash", raw("GET", f"{LIST}/..%5c..%5cfirst"), 422, "Invalid"),
    Hostile("upper case", raw("GET", f"{LIST}/First"), 422, "Invalid"),
    Hostile("a NUL", raw("GET", f"{LIST}/first%00"), 422, "Invalid"),
    Hostile("a line feed", raw("GET", f"{LIST}/first%0a"), 422, "Invalid"),
    Hostile("an encoded header", raw("GET", f"{LIST}/first%0d%0aX-A:%201"), 422, "Invalid"),
    Hostile("a blank", raw("GET", f"{LIST}/%20first"), 422, "Invalid"),
    Hostile("a dot at the end", raw("GET", f"{LIST}/first."), 422, "Invalid"),
    Hostile("a dash at the beginning", raw("GET", f"{LIST}/-first"), 422, "Invalid"),
    Hostile("an underscore", raw("GET", f"{LIST}/my_first"), 422, "Invalid"),
    Hostile("a percent sign", raw("GET", f"{LIST}/100%25"), 422, "Invalid"),
    Hostile("half an encoding", raw("GET", f"{LIST}/first%f"), 422, "Invalid"),
    Hostile("an encoding that is no UTF-8", raw("GET", f"{LIST}/first%ff"), 422, "Invalid"),
    Hostile("wide letters that look alike", raw("GET", f"{LIST}/%EF%BD%86irst"), 422, "Invalid"),
    Hostile("a name of 254 letters", raw("GET", f"{LIST}/{'a' * 254}"), 422, "Invalid"),
    Hostile("a namespace of 64 letters", raw("GET", f"/v1/namespaces/{'a' * 64}/sessions"), 422, "Invalid"),
    Hostile("a namespace with a dot", raw("GET", "/v1/namespaces/shop.first/sessions"), 422, "Invalid"),
    Hostile("an empty namespace", raw("GET", "/v1/namespaces//sessions"), 404, None),
    Hostile("an empty name", raw("GET", f"{LIST}/"), 404, None),
    Hostile("two slashes", raw("GET", f"/{LIST}"), 404, None),
    Hostile("an apostrophe of SQL", raw("GET", f"{LIST}/x'%20or%20'1'='1"), 422, "Invalid"),
    Hostile("a template", raw("GET", f"{LIST}/%7B%7B7*7%7D%7D"), 422, "Invalid"),
    Hostile("a path that is not there", raw("GET", f"{FIRST}/secrets"), 404, None),
    Hostile("the files of the process", raw("GET", "/v1/../../../etc/passwd"), 404, None),
]  # fmt: skip

DEEP = b'{"changes":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"
BODIES = [
    Hostile("no body", raw("PATCH", CONTEXT, "Content-Type: application/json"), 400, "InvalidJSON"),
    Hostile("an empty body", patched(b""), 400, "InvalidJSON"),
    Hostile("no JSON", patched(b"changes: {a: 1}"), 400, "InvalidJSON"),
    Hostile("half of it", patched(b'{"changes": {"a": '), 400, "InvalidJSON"),
    Hostile("more after it", patched(b'{"changes": {"a": 1}} {}'), 400, "InvalidJSON"),
    Hostile("not a number", patched(b'{"changes": {"a": NaN}}'), 400, "InvalidJSON"),
    Hostile("infinity", patched(b'{"changes": {"a": -Infinity}}'), 400, "InvalidJSON"),
    Hostile("a number of 5,000 digits", patched(b'{"changes": {"a": ' + b"9" * 5000 + b"}}"), 400, "InvalidJSON"),
    Hostile("a number beyond every float", patched(b'{"changes": {"a": 1e999}}'), 400, "InvalidJSON"),
    Hostile("100,000 levels", patched(DEEP), 400, "InvalidJSON"),
    Hostile("65 levels", patched(b'{"a":' * 65 + b"1" + b"}" * 65), 400, "InvalidJSON"),
    Hostile("60,000 small lists", patched(b'{"changes": {"a": [' + b"[]," * 60_000 + b"1]}}"), 400, "InvalidJSON"),
    Hostile("a key twice", patched(b'{"changes": {"a": 1}, "changes": {"b": 1}}'), 400, "InvalidJSON"),
    Hostile("a key twice, once escaped", patched(b'{"changes": {"a": 1, "\\u0061": 2}}'), 400, "InvalidJSON"),
    Hostile("no UTF-8", patched(b'{"changes": {"a": "\xff"}}'), 400, "InvalidJSON"),
    Hostile("a surrogate in UTF-8", patched(b'{"changes": {"a": "\xed\xa0\x80"}}'), 400, "InvalidJSON"),
    Hostile("UTF-16", patched('{"changes": {"a": 1}}'.encode("utf-16")), 400, "InvalidJSON"),
    Hostile("a byte order mark", patched(b'\xef\xbb\xbf{"changes": {"a": 1}}'), 400, "InvalidJSON"),
    Hostile("a list", patched([]), 422, "Invalid"),
    Hostile("null", patched(None), 422, "Invalid"),
    Hostile("a text", patched("changes"), 422, "Invalid"),
    Hostile("changes that are a list", patched({"changes": []}), 422, "Invalid"),
    Hostile("no changes", patched({"changes": {}}), 422, "Invalid"),
    Hostile("an empty key", patched({"changes": {"": 1}}), 422, "Invalid"),
    Hostile("257 changes", patched({"changes": {str(n): n for n in range(257)}}), 422, "Invalid"),
    Hostile("a version that is a text", patched({"changes": {"a": 1}, "version": "0"}), 422, "Invalid"),
    Hostile("a version that is a truth", patched({"changes": {"a": 1}, "version": True}), 422, "Invalid"),
    Hostile("a version below zero", patched({"changes": {"a": 1}, "version": -1}), 422, "Invalid"),
    Hostile("a version beyond 64 bits", patched({"changes": {"a": 1}, "version": 2**63}), 422, "Invalid"),
    Hostile("a field that is not there", patched({"changes": {"a": 1}, "force": True}), 422, "Invalid"),
    Hostile("a field of Python's", patched({"changes": {"a": 1}, "__class__": "x"}), 422, "Invalid"),
    Hostile("a turn that is a text", sent(MESSAGES, {"content": "x", "turn": "false"}), 422, "Invalid"),
    Hostile("a message that is a number", sent(MESSAGES, {"content": 1}), 422, "Invalid"),
    Hostile("a message of nothing", sent(MESSAGES, {"content": ""}), 422, "Invalid"),
    Hostile("a status in a Session", sent(LIST, {"spec": {"agentRef": {"name": "a"}}, "status": {}}), 422, "Invalid"),
    Hostile("a label that is a path", sent(LIST, {"spec": {"agentRef": {"name": "a"}}, "labels": {"../a": "b"}}), 422, "Invalid"),
    Hostile("an agent that is a path", sent(LIST, {"spec": {"agentRef": {"name": "../a"}}}), 422, "Invalid"),
    Hostile("a Session's name that is a path", sent(LIST, {"name": "../a", "spec": {"agentRef": {"name": "a"}}}), 422, "Invalid"),
    Hostile("history cleared in another's name", sent(LIST, {"spec": {"agentRef": {"name": "a"}, "clearHistory": {"throughSequence": 1, "by": "ben"}}}), 422, "Invalid"),
    Hostile("a reply in another's name", sent(REPLIES, {"taskRef": {"name": "one"}, "waitID": "w", "choice": "approve", "by": "ben"}), 422, "Invalid"),
    Hostile("an update of nothing", sent(FIRST, {}, method="PATCH"), 422, "Invalid"),
    Hostile("another user in an update", sent(FIRST, {"user": {"id": "ben"}}, method="PATCH"), 422, "Invalid"),
    Hostile("a body of 2 MiB", patched({"changes": {"a": "x" * 2 * MIB}}), 413, "TooLarge"),
    Hostile("a body of 2 MiB to a Session named import", sent(f"{LIST}/import", {"labels": {"a": "x" * 2 * MIB}}, method="PATCH"), 413, "TooLarge"),
    Hostile("a body of 2 MiB to a path that ends like an import's", sent(f"{CONTEXT}/import", {"a": "x" * 2 * MIB}), 413, "TooLarge"),
    Hostile("a body said to be huge", raw("PATCH", CONTEXT, "Content-Type: application/json", "Content-Length: 99999999999"), 413, "TooLarge"),
    Hostile("a huge body from a stranger", raw("PATCH", CONTEXT, "Content-Type: application/json", body=b"x" * 2 * MIB, token="stranger"), 413, "TooLarge"),
    Hostile("a huge body in pieces", raw("PATCH", CONTEXT, "Content-Type: application/json", "Transfer-Encoding: chunked", body=b"200000\r\n" + b" " * 2 * MIB + b"\r\n0\r\n\r\n", length=False), 413, "TooLarge"),
    Hostile("a context that is too large", patched({"changes": {"a": "x" * 300_000}}), 413, "TooLarge"),
    Hostile("a form", raw("PATCH", CONTEXT, "Content-Type: application/x-www-form-urlencoded", body=b"changes=1"), 415, "UnsupportedMediaType"),
    Hostile("no type of content", raw("PATCH", CONTEXT, body=b'{"changes": {"a": 1}}'), 415, "UnsupportedMediaType"),
    Hostile("JSON in another charset", raw("PATCH", CONTEXT, "Content-Type: application/json; charset=utf-7", body=b"{}"), 415, "UnsupportedMediaType"),
    Hostile("a Kubernetes patch", raw("PATCH", FIRST, "Content-Type: application/merge-patch+json", body=b"{}"), 415, "UnsupportedMediaType"),
    Hostile("a body that stops half way", raw("PATCH", CONTEXT, "Content-Type: application/json", "Content-Length: 40", body=b'{"changes"', length=False), 408, "Timeout"),
    Hostile("a body that never comes", raw("POST", MESSAGES, "Content-Type: application/json", "Content-Length: 40"), 408, "Timeout"),
]  # fmt: skip

METHODS_AND_HEADERS = [
    Hostile("PUT of a Session", raw("PUT", FIRST, body=b"{}"), 405, None),
    Hostile("DELETE of all Sessions", raw("DELETE", LIST), 405, None),
    Hostile("TRACE", raw("TRACE", FIRST), 405, None),
    Hostile("a method of one's own", raw("PURGE", FIRST), 405, None),
    Hostile("a method overridden", raw("POST", FIRST, "X-HTTP-Method-Override: DELETE", body=b""), 405, None),
    Hostile("OPTIONS of another origin", raw("OPTIONS", FIRST, "Origin: http://evil", "Access-Control-Request-Method: GET", token=None), 405, None),
    Hostile("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, None),
    Hostile("a length that is none", raw("PATCH", CONTEXT, "Content-Type: application/json", "Content-Length: -1"), 400, None),
    Hostile("two lengths", raw("PATCH", CONTEXT, "Content-Length: 2", "Content-Length: 3", body=b"{}", length=False), 400, None),
    Hostile("a key that is empty", sent(MESSAGES, {"content": "x"}, "Idempotency-Key: "), 400, "BadRequest"),
    Hostile("a key of 129 letters", sent(MESSAGES, {"content": "x"}, f"Idempotency-Key: {'k' * 129}"), 400, "BadRequest"),
    Hostile("a key beyond ASCII", sent(MESSAGES, {"content": "x"}, "Idempotency-Key: zoë"), 400, "BadRequest"),
    Hostile("two keys", sent(MESSAGES, {"content": "x"}, "Idempotency-Key: a", "Idempotency-Key: b"), 400, "BadRequest"),
    Hostile("a user the caller may not act for", raw("GET", FIRST, "Parley-User: bob"), 404, "NotFound"),
    Hostile("every user", raw("GET", FIRST, "Parley-User: *"), 404, "NotFound"),
    Hostile("an empty user", raw("GET", FIRST, "Parley-User: "), 400, "BadRequest"),
    Hostile("a user that is no UTF-8", raw("GET", FIRST, b"Parley-User: \xff"), 400, "BadRequest"),
    Hostile("a user of 2 kB", raw("GET", FIRST, f"Parley-User: {'a' * 2000}"), 400, "BadRequest"),
    Hostile("two users", raw("GET", FIRST, "Parley-User: alice", "Parley-User: bob"), 400, "BadRequest"),
]  # fmt: skip

QUERIES = [
    Hostile("a page of nothing", raw("GET", f"{LIST}?limit=0"), 422, "Invalid"),
    Hostile("a page of everything", raw("GET", f"{LIST}?limit=1000000"), 422, "Invalid"),
    Hostile("a page of a text", raw("GET", f"{LIST}?limit=ten"), 422, "Invalid"),
    Hostile("an empty page token", raw("GET", f"{LIST}?pageToken="), 422, "Invalid"),
    Hostile("a made up page token", raw("GET", f"{LIST}?pageToken=abc"), 400, "InvalidPageToken"),
    Hostile("a page token beyond ASCII", raw("GET", f"{LIST}?pageToken=%F0%9F%98%80"), 400, "InvalidPageToken"),
    Hostile("a page token of 5 kB", raw("GET", f"{LIST}?pageToken={'a' * 5000}"), 422, "Invalid"),
    Hostile("a page token of another list", raw("GET", page(after="x", skip=0, filters="0")), 400, "InvalidPageToken"),
    Hostile("a page token with a position below zero", raw("GET", page(after="", skip=-1, filters="0")), 400, "InvalidPageToken"),
    Hostile("another's page token of tasks", raw("GET", f"{FIRST}/tasks?pageToken=e30"), 400, "InvalidPageToken"),
    Hostile("a state that is none", raw("GET", f"{LIST}?state=Deleted"), 422, "Invalid"),
    Hostile("metadata without a value", raw("GET", f"{LIST}?metadata=channel"), 400, "BadRequest"),
    Hostile("17 conditions", raw("GET", f"{LIST}?{'&'.join(['metadata=a%3Db'] * 17)}"), 422, "Invalid"),
    Hostile("a label selector that is none", raw("GET", f"{LIST}?labelSelector=%21%21"), 400, "BadRequest"),
    Hostile("a sequence below zero", raw("GET", f"{FIRST}/events?after=-1"), 422, "Invalid"),
    Hostile("a sequence beyond 64 bits", raw("GET", f"{FIRST}/events?after={2**70}"), 422, "Invalid"),
    Hostile("a type of events that is none", raw("GET", f"{FIRST}/events?type=secret"), 422, "Invalid"),
]  # fmt: skip

ALL = [*TOKENS, *NAMES, *BODIES, *METHODS_AND_HEADERS, *QUERIES]
