"""Calls of http tools: one request each, and the redirects of a GET."""

import asyncio
from collections.abc import Mapping

import httpx2
from pydantic import JsonValue

from parley.resources.tools import HttpTool
from parley.runner.tools.bounded import AnswerTooLarge
from parley.runner.tools.errors import ToolProblem
from parley.runner.tools.headers import has_secret
from parley.runner.tools.http_answer import read_answer, read_text
from parley.runner.tools.http_request import HttpCall, render_call
from parley.runner.tools.network import Network, describe
from parley.runner.tools.rendering import rendered
from parley.runner.tools.results import MAX_RESULT_BYTES, in_words, too_large
from parley.runner.tools.secrets import ToolSecrets

MAX_REDIRECTS = 5
_FOLLOWING = frozenset({"GET", "HEAD"})


async def call_http(
    http: HttpTool,
    scope: Mapping[str, JsonValue],
    *,
    key: str,
    seconds: float,
    secrets: ToolSecrets,
    network: Network,
) -> JsonValue:
    """Make a call.

    Args:
        http: the tool.
        scope: what its templates know, ``arguments`` among it.
        key: the call's journal id.
        seconds: for all of it, redirects and the answer's body included.
        secrets: of the headers.
        network: how to connect.

    Raises:
        ToolProblem: there is no result; the text follows the tool's name.
    """
    call = await rendered(lambda: render_call(http, scope, secrets, key, "http"))
    try:
        async with asyncio.timeout(seconds):
            return await _exchange(call, http, secrets, network)
    except TimeoutError:
        raise ToolProblem(f"{call.origin} did not answer within {seconds:g} s: try again later") from None


async def _exchange(call: HttpCall, http: HttpTool, secrets: ToolSecrets, network: Network) -> JsonValue:
    client, _ = network.client({}, allow_link_local=http.allow_link_local, max_bytes=MAX_RESULT_BYTES)
    async with client:
        try:
            request = client.build_request(call.method, call.url, headers=call.headers, content=call.content)
            response = await _follow(client, request, secret=has_secret(http.headers))
            try:
                return await _read(response, call, secrets)
            finally:
                await response.aclose()
        except AnswerTooLarge:
            raise ToolProblem(too_large()) from None
        except httpx2.TransportError as error:
            # Of a redirect's chain, the server that failed.
            raise ToolProblem(f"{_origin(error.request.url)} {in_words(describe(error), secrets)}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise ToolProblem(
                f"{call.origin} cannot be asked this: {in_words(str(error), secrets)}"
            ) from error


async def _follow(client: httpx2.AsyncClient, request: httpx2.Request, *, secret: bool) -> httpx2.Response:
    """Send a request, and follow where its answer points to if that is harmless.

    Raises:
        ToolProblem: it points elsewhere, or on and on.
    """
    for _ in range(MAX_REDIRECTS + 1):
        response = await client.send(request, stream=True)
        following = response.next_request
        if following is None:
            return response
        await response.aclose()
        if reason := _refused(request, following, secret=secret):
            raise ToolProblem(
                f"{_origin(request.url)} answered {response.status_code} and points to {_origin(following.url)}; "
                f"{reason}"
            )
        request = following
    raise ToolProblem(f"{_origin(request.url)} redirects more than {MAX_REDIRECTS} times")


def _refused(request: httpx2.Request, following: httpx2.Request, *, secret: bool) -> str | None:
    if request.method not in _FOLLOWING:
        return (
            f"only GET and HEAD follow that, not {request.method}: the url in the Agent must be the final one"
        )
    if following.url.userinfo:
        return "a redirect may not bring a user name"
    if secret and not _same_server(request.url, following.url):
        return "a request with a secret follows only to the same host: the url in the Agent must be the final one"
    return None


def _same_server(first: httpx2.URL, second: httpx2.URL) -> bool:
    if (first.scheme, first.host, first.port) == (second.scheme, second.host, second.port):
        return True
    upgrade = (first.scheme, second.scheme) == ("http", "https") and first.port is second.port is None
    return upgrade and first.host == second.host


async def _read(response: httpx2.Response, call: HttpCall, secrets: ToolSecrets) -> JsonValue:
    if response.status_code >= 300:
        said = in_words(read_text(response, await _beginning(response)), secrets)
        raise ToolProblem(f"{call.origin} answered {response.status_code}: {said}")
    body = await response.aread()
    try:
        return read_answer(response, body)
    except ToolProblem as problem:
        raise ToolProblem(f"{call.origin} {problem}") from None


async def _beginning(response: httpx2.Response) -> bytes:
    """As much of a refusal's body as there is and is told."""
    body = b""
    try:
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > 4 * 1024:
                break
    except httpx2.TransportError:
        pass  # the status says enough
    return body


def _origin(url: httpx2.URL) -> str:
    return f"{url.scheme}://{url.host}" + (f":{url.port}" if url.port else "")
