"""Calls of http tools against a real server: what is sent, what comes back, what goes wrong."""

import gzip
import json
import threading
import zlib
from typing import Any

import pytest
from parley.runner.tools.errors import ToolProblem

from tests.unit.runner.tools.answering import Server, Write
from tests.unit.runner.tools.boxes import SECRET, http, make_box, network, run, secrets


async def test_a_call_renders_the_request_and_carries_its_key(server: Server) -> None:
    tool = http(
        server.url + "/orders/{{ arguments.number }}?tenant={{ inputs.tenant }}&q={{ arguments.q }}",
        headers=[
            {"name": "X-Session", "value": "{{ session.name }}"},
            {"name": "Authorization", "valueFrom": SECRET},
            {"name": "idempotency-key", "value": "mine"},
        ],
    )

    result = await run(
        make_box(tool, environment=secrets(token="Bearer s3cret-token\n")),
        arguments={"number": "a/b c", "q": "ä&x=1#"},
    )

    assert result == {"ok": True}
    (got,) = server.got
    assert got.method == "GET"
    assert got.path == "/orders/a%2Fb%20c?tenant=acme&q=%C3%A4%26x%3D1%23"
    assert got.headers["x-session"] == "alice"
    assert got.headers["authorization"] == "Bearer s3cret-token"
    assert got.headers["idempotency-key"] == "key-1"
    assert got.body == b""


@pytest.mark.parametrize(
    ("more", "content_type", "body"),
    [
        ({"method": "POST"}, "application/json", b'{"number":"1","sum":2}'),
        ({"method": "PATCH"}, "application/json", b'{"number":"1","sum":2}'),
        ({"method": "DELETE"}, None, b""),
        (
            {"method": "PUT", "body": {"n": "{{ arguments.sum }}", "of": ["x{{ arguments.number }}"]}},
            "application/json",
            b'{"n":2,"of":["x1"]}',
        ),
        ({"method": "POST", "body": "{{ arguments }}"}, "application/json", b'{"number":"1","sum":2}'),
        ({"method": "POST", "body": "n={{ arguments.number }}"}, "text/plain; charset=utf-8", b"n=1"),
        (
            {
                "method": "POST",
                "body": "n={{ arguments.number|urlencode }}",
                "headers": [{"name": "content-type", "value": "application/x-www-form-urlencoded"}],
            },
            "application/x-www-form-urlencoded",
            b"n=1",
        ),
    ],
)
async def test_the_body_is_the_agents_else_the_arguments(
    server: Server, more: dict[str, Any], content_type: str | None, body: bytes
) -> None:
    await run(make_box(http(server.url + "/", **more)), arguments={"number": "1", "sum": 2})

    (got,) = server.got
    assert (got.method, got.headers.get("content-type"), got.body) == (more["method"], content_type, body)


@pytest.mark.parametrize(
    ("content_type", "body", "result"),
    [
        ("application/json", b'\xef\xbb\xbf{"a": [1, null]}', {"a": [1, None]}),
        ("application/problem+json; charset=utf-8", b'"x"', "x"),
        ("text/plain", "ä".encode(), "ä"),
        ("text/html; charset=latin-1", b"\xe4", "ä"),
        ("text/plain; charset=nonsense", b"x", "x"),
        ("text/plain", b"a\x00b\xff", "a\ufffdb\ufffd"),
        ("application/xml", b"<a/>", "<a/>"),
        ("image/png", b"", None),
        (None, b"", None),
    ],
)
async def test_json_is_json_and_a_text_is_a_text(
    server: Server, content_type: str | None, body: bytes, result: Any
) -> None:
    server.says("/", body, content_type=content_type)

    assert await run(make_box(http(server.url + "/"))) == result


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            {"body": b"\x89PNG", "content_type": "image/png"},
            "answered 4 bytes as image/png: only JSON and text",
        ),
        ({"body": b"abc", "content_type": None}, "answered 3 bytes without a Content-Type"),
        ({"body": b"{"}, "says that it is JSON, and is none"),
        ({"body": b"NaN"}, "NaN is no JSON number"),
        ({"body": b"[" * 100_000}, "nested too deeply"),
        ({"body": b"[" * 70 + b"]" * 70}, "nested deeper than 64 levels"),
        ({"body": b'{"error": "no such order"}', "status": 404}, 'answered 404: {"error": "no such order"}'),
        ({"body": b"", "status": 503}, "answered 503: nothing"),
        ({"body": b"x" * 300_000, "content_type": "text/plain"}, "more than 256 KiB: ask for less"),
        ({"body": b"x" * 900_000, "status": 500}, "answered 500: xxx"),
        ({"body": b"x", "headers": {"Content-Encoding": "br"}}, "encoded as 'br', which was not asked for"),
        ({"body": b"no gzip", "headers": {"Content-Encoding": "gzip"}}, "cannot be unpacked"),
        ({"body": b"", "status": 304}, "answered 304"),
        ({"body": b"", "status": 302}, "answered 302"),
    ],
)
async def test_what_is_no_result_is_a_sentence_that_names_the_tool_and_the_server(
    server: Server, said: dict[str, Any], words: str
) -> None:
    server.says("/", **said)

    with pytest.raises(ToolProblem) as caught:
        await run(make_box(http(server.url + "/")))

    message = str(caught.value)
    assert message.startswith("tool get_order: ")
    assert words in message
    assert len(message.encode()) < 1300


async def test_a_packed_answer_is_unpacked(server: Server) -> None:
    body = json.dumps({"a": "x" * 1000}).encode()
    for encoding, packed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        server.says("/", packed, headers={"Content-Encoding": encoding})

        assert await run(make_box(http(server.url + "/"))) == {"a": "x" * 1000}

    assert {got.headers["accept-encoding"] for got in server.got} == {"identity"}


async def test_a_bomb_and_an_endless_body_stop_at_the_limit(server: Server) -> None:
    bomb = gzip.compress(b"x" * 200_000_000)

    def endless(write: Write, ending: threading.Event) -> None:
        while not ending.is_set():
            write(b"x" * 10_000)

    server.says("/bomb", bomb, content_type="text/plain", headers={"Content-Encoding": "gzip"})
    server.says("/endless", endless, content_type="text/plain")
    for path in ("/bomb", "/endless"):
        with pytest.raises(ToolProblem, match="more than 256 KiB"):
            await run(make_box(http(server.url + path)))


@pytest.mark.parametrize("tools_own", [True, False])
async def test_a_slow_answer_ends_at_the_shorter_of_the_two_timeouts(server: Server, tools_own: bool) -> None:
    def slow(write: Write, ending: threading.Event) -> None:
        while not ending.wait(0.02):
            write(b" ")

    server.says("/", slow)
    box = make_box(http(server.url + "/", timeout="200ms" if tools_own else "10m"))

    with pytest.raises(ToolProblem, match=r"did not answer within 0\.2 s"):
        await run(box, timeout_seconds=600 if tools_own else 0.2)


async def test_an_answer_that_breaks_off_is_no_result(server: Server) -> None:
    server.says("/", b"abc", headers={"Content-Length": "1000"}, content_type="text/plain")
    cut = gzip.compress(b"x" * 1000)[:-9]
    server.says("/cut", cut, content_type="text/plain", headers={"Content-Encoding": "gzip"})

    for path, words in (("/", "broke off"), ("/cut", "ends in the middle")):
        with pytest.raises(ToolProblem, match=words):
            await run(make_box(http(server.url + path)))


async def test_nobody_there_and_no_such_name_are_told() -> None:
    for url, words in (
        ("http://127.0.0.1:1/", "http://127.0.0.1:1 cannot be reached: "),
        ("http://no-such-name.invalid/", "the name no-such-name.invalid cannot be resolved"),
    ):
        with pytest.raises(ToolProblem, match=words):
            await run(make_box(http(url)))


async def test_head_gives_status_and_headers(server: Server) -> None:
    server.says("/", b"12345", content_type="text/plain", headers={"ETag": '"7"', "Content-Encoding": "gzip"})

    result = await run(make_box(http(server.url + "/", method="HEAD")))

    assert result["status"] == 200
    assert result["headers"]["etag"] == '"7"'


class TestRedirects:
    async def test_a_get_is_followed_with_its_secret_on_the_same_server(self, server: Server) -> None:
        server.says("/", status=302, headers={"Location": "/there"})
        tool = http(server.url + "/", headers=[{"name": "Authorization", "valueFrom": SECRET}])

        assert await run(make_box(tool, environment=secrets(token="t0ken"))) == {"ok": True}

        assert [(got.path, got.headers["authorization"]) for got in server.got] == [
            ("/", "t0ken"),
            ("/there", "t0ken"),
        ]

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_no_secret_goes_to_another_server(self, server: Server, scheme: str) -> None:
        server.says("/", status=302, headers={"Location": f"{scheme}://other.test:{server.port}/there"})
        tool = http(server.url + "/", headers=[{"name": "X-Key", "valueFrom": SECRET}])
        box = make_box(
            tool, environment=secrets(token="t0ken"), network=network({"other.test": ["127.0.0.1"]})
        )

        with pytest.raises(
            ToolProblem, match=r"points to \w+://other.test:\d+; a request with a secret follows"
        ):
            await run(box)

        assert len(server.got) == 1

    async def test_without_one_it_is_followed_to_an_allowed_address(self, server: Server) -> None:
        server.says("/", status=307, headers={"Location": f"http://other.test:{server.port}/there"})

        box = make_box(http(server.url + "/"), network=network({"other.test": ["127.0.0.1"]}))

        assert await run(box) == {"ok": True}
        assert server.got[1].headers["host"] == f"other.test:{server.port}"

    @pytest.mark.parametrize(
        "location",
        [
            "http://169.254.169.254/latest/meta-data/",
            "http://[fd00:ec2::254]/",
            "http://[::ffff:169.254.169.254]/",
            "http://2852039166/",  # 169.254.169.254 as one number
            "http://0xa9fea9fe/",
            "http://[::169.254.169.254]/",
            "http://0xa9.254.43518/",
            "http://0.0.0.0/",
        ],
    )
    async def test_no_redirect_leads_to_an_address_that_is_refused(
        self, server: Server, location: str
    ) -> None:
        server.says("/", status=302, headers={"Location": location})

        with pytest.raises(ToolProblem, match="and tools may not connect to such") as caught:
            await run(make_box(http(server.url + "/")))

        assert server.url not in str(caught.value), (
            "the one that was to be reached is told, not where it began"
        )

    @pytest.mark.parametrize(
        "location",
        [
            "file:///etc/passwd",
            "ftp://other.test/",
            "http://[",
            "http://0251.0376.0251.0376/",
            "http://u:p@127.0.0.1:{port}/",
        ],
    )
    async def test_a_redirect_to_something_else_is_a_problem(self, server: Server, location: str) -> None:
        server.says("/", status=302, headers={"Location": location.replace("{port}", str(server.port))})

        with pytest.raises(ToolProblem, match=r"tool get_order: [a-z]+://"):
            await run(make_box(http(server.url + "/")))

        assert len(server.got) == 1

    async def test_five_are_followed_and_no_more(self, server: Server) -> None:
        for hop in range(10):
            server.says(f"/{hop}", status=302, headers={"Location": f"/{hop + 1}"})
        server.says("/10", b'"there"')

        assert await run(make_box(http(server.url + "/5"))) == "there"
        server.got.clear()
        with pytest.raises(ToolProblem, match="redirects more than 5 times"):
            await run(make_box(http(server.url + "/4")))
        assert len(server.got) == 6

    async def test_what_changes_something_is_never_sent_twice(self, server: Server) -> None:
        server.says("/", status=307, headers={"Location": "/there"})

        with pytest.raises(ToolProblem, match="only GET and HEAD follow that, not POST"):
            await run(make_box(http(server.url + "/", method="POST")))

        assert len(server.got) == 1


async def test_a_server_that_says_a_secret_is_not_quoted(server: Server) -> None:
    headers = [{"name": "Authorization", "valueFrom": SECRET}]
    environment = secrets(token="Bearer s3cret-token")
    server.says("/ok", b'{"seen": "Bearer s3cret-token", "s3cret-token": ["x s3cret-token"]}')
    server.says("/no", b"bad token s3cret-token", status=401, content_type="text/plain")

    result = await run(make_box(http(server.url + "/ok", headers=headers), environment=environment))
    with pytest.raises(ToolProblem) as caught:
        await run(make_box(http(server.url + "/no", headers=headers), environment=environment))

    assert result == {"seen": "***", "***": ["x ***"]}
    assert "s3cret" not in str(caught.value)
    assert "answered 401: bad token ***" in str(caught.value)


async def test_a_secret_is_hidden_before_a_long_answer_is_cut(server: Server) -> None:
    headers = [{"name": "Authorization", "valueFrom": SECRET}]
    server.says("/", b"x" * 1015 + b"s3cret-token", status=500, content_type="text/plain")

    with pytest.raises(ToolProblem) as caught:
        await run(
            make_box(http(server.url + "/", headers=headers), environment=secrets(token="s3cret-token"))
        )

    assert "x***" in str(caught.value)
    assert "s3c" not in str(caught.value)


async def test_a_result_must_fit_its_schema(server: Server) -> None:
    schema = {"type": "object", "required": ["id"]}

    with pytest.raises(
        ToolProblem, match=r"was called, and its result does not fit its schema: .*'id' is a required"
    ):
        await run(make_box(http(server.url + "/", resultSchema=schema)))
