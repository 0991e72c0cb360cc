"""What a model may put into a call, and what it must never get by that."""

from typing import Any

import pytest
from parley.resources.tools import HttpHeader, HttpTool
from parley.runner.tools.errors import ToolProblem
from parley.runner.tools.headers import render_headers
from parley.runner.tools.http_request import render_call
from parley.runner.tools.secrets import ToolSecrets

from tests.unit.runner.tools.answering import Server
from tests.unit.runner.tools.boxes import http, make_box, run

REFUSED = [
    "..",
    ".",
    "../admin",
    "..\\admin",
    "a/../../admin",
    "%2e%2e",
    "..%2fadmin",
    "%252e%252e%252fadmin",
    "..;/admin",
    "x/..;a=b/admin",
]
KEPT = [
    ("a/b", "/orders/a%2Fb/end"),
    ("//evil.test", "/orders/%2F%2Fevil.test/end"),
    ("?admin=1", "/orders/%3Fadmin%3D1/end"),
    ("#", "/orders/%23/end"),
    ("@evil.test", "/orders/%40evil.test/end"),
    (":80@evil.test/", "/orders/%3A80%40evil.test%2F/end"),
    ("\r\nX-Evil: 1\r\n\r\n", "/orders/%0D%0AX-Evil%3A%201%0D%0A%0D%0A/end"),
    ("\x00", "/orders/%00/end"),
    ("{{ inputs.tenant }}", "/orders/%7B%7B%20inputs.tenant%20%7D%7D/end"),
    ("...", "/orders/.../end"),
    ("a..b", "/orders/a..b/end"),
    ("", "/orders//end"),
    (5, "/orders/5/end"),
    ({"a": [1]}, "/orders/%7B%22a%22%3A%5B1%5D%7D/end"),
    ("ä€😀", "/orders/%C3%A4%E2%82%AC%F0%9F%98%80/end"),
]


@pytest.mark.parametrize("argument", REFUSED)
async def test_no_argument_leads_out_of_the_path(server: Server, argument: str) -> None:
    with pytest.raises(ToolProblem, match=r"segment .*'?\.\.?"):
        await run(
            make_box(http(server.url + "/orders/{{ arguments.number }}/end")), arguments={"number": argument}
        )

    assert server.got == []


@pytest.mark.parametrize(("argument", "path"), KEPT)
async def test_an_argument_stays_within_its_segment(server: Server, argument: Any, path: str) -> None:
    await run(
        make_box(http(server.url + "/orders/{{ arguments.number }}/end")), arguments={"number": argument}
    )

    (got,) = server.got
    assert got.path == path
    assert "x-evil" not in got.headers


async def test_an_argument_stays_within_its_parameter(server: Server) -> None:
    tool = http(server.url + "/find?q={{ arguments.q }}&limit=1")

    await run(make_box(tool), arguments={"q": "../..&limit=9#?"})

    assert server.got[0].path == "/find?q=..%2F..%26limit%3D9%23%3F&limit=1"


@pytest.mark.parametrize(
    "url",
    [
        "http://{{ arguments.host }}/",
        "http://orders.{{ arguments.host }}/",
        "http://orders{{ arguments.host }}",
        "{{ arguments.host }}",
        "http://user:password@orders/",
        "http://orders#{{ arguments.host }}",
        "http://orders\\@evil.test/",
        "http:///{{ arguments.host }}",
        "file:///etc/passwd",
        "//orders/",
    ],
)
def test_no_argument_chooses_the_host_even_if_such_a_url_came_through(url: str) -> None:
    """Given a url that the Agent's own validation refuses."""
    tool = HttpTool.model_construct(method="GET", url=url, headers=[], body=None)
    scope = {"arguments": {"host": "evil.test"}}

    with pytest.raises(ToolProblem, match=r"http\.url must begin with http:// or https:// and a host"):
        render_call(tool, scope, ToolSecrets([], {}), "key-1", "http")


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "ä", "\x7f", "x" * 9000])
async def test_no_argument_adds_a_header(server: Server, value: str) -> None:
    tool = http(server.url + "/", headers=[{"name": "X-Note", "value": "n {{ arguments.note }}"}])

    with pytest.raises(ToolProblem, match=r"tool get_order: http\.headers\[0\] \(X-Note\) would"):
        await run(make_box(tool), arguments={"note": value})

    assert server.got == []


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "Connection"])
def test_what_frames_a_request_is_not_for_a_manifest(name: str) -> None:
    header = HttpHeader.model_construct(name=name, value="1", value_from=None)

    with pytest.raises(ToolProblem, match="is set by Parley itself: remove it"):
        render_headers([header], {}, ToolSecrets([], {}), "http.headers")


async def test_a_template_that_does_not_fit_its_arguments_is_told(server: Server) -> None:
    with pytest.raises(ToolProblem) as caught:
        await run(make_box(http(server.url + "/{{ arguments.number }}")), arguments={"id": 1})

    assert str(caught.value).startswith(
        "tool get_order: http.url: arguments.number is not defined; arguments has id"
    )


async def test_characters_that_cannot_be_written_are_replaced(server: Server) -> None:
    await run(make_box(http(server.url + "/", method="POST")), arguments={"a": "\ud800\x00"})

    assert server.got[0].body.decode() == '{"a":"\ufffd\ufffd"}'
