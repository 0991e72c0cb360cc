"""A connection goes to the address that was checked, whatever a name server says next."""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from parley.runner.tools.addresses import refusal
from parley.runner.tools.errors import ToolProblem
from parley.runner.tools.network import Network

from tests.unit.runner.tools.answering import Server
from tests.unit.runner.tools.boxes import http, loopback_too, make_box, network, run


class NameServer:
    """Says another thing each time it is asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


def network_of(names: NameServer) -> Network:
    return Network(check=loopback_too, resolve=names.resolve)


async def test_a_name_is_asked_for_once_and_the_checked_address_is_used(server: Server) -> None:
    names = NameServer(["127.0.0.1"], ["169.254.169.254"])
    tool = http(f"http://orders.test:{server.port}/")

    assert await run(make_box(tool, network=network_of(names))) == {"ok": True}

    assert names.asked == [("orders.test", server.port)]
    assert server.got[0].headers["host"] == f"orders.test:{server.port}"


async def test_each_request_is_checked_anew(server: Server) -> None:
    names = NameServer(["127.0.0.1"], ["169.254.169.254"])
    server.says("/", status=302, headers={"Location": "/there"})
    tool = http(f"http://orders.test:{server.port}/")

    with pytest.raises(
        ToolProblem, match=r"the address 169.254.169.254 of orders.test is a link-local address"
    ):
        await run(make_box(tool, network=network_of(names)))

    assert len(server.got) == 1


async def test_refused_addresses_of_a_name_are_left_out(server: Server) -> None:
    names = NameServer(["169.254.169.254", "fe80::1", "127.0.0.1"])

    assert await run(make_box(http(f"http://orders.test:{server.port}/"), network=network_of(names))) == {
        "ok": True
    }


async def test_the_next_address_is_tried_when_one_cannot_be_reached(server: Server) -> None:
    names = NameServer(["127.0.0.2", "127.0.0.1"])  # the server listens on the second one only

    assert await run(make_box(http(f"http://orders.test:{server.port}/"), network=network_of(names))) == {
        "ok": True
    }


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1/", "the address 127.0.0.1 is a loopback address"),
        ("http://localhost/", "of localhost is a loopback address"),
        ("http://2130706433/", "the address 127.0.0.1 of 2130706433 is a loopback address"),
        ("http://0x7f.1/", "is a loopback address"),
        ("http://0/", "the address 0.0.0.0 of 0 is an unspecified address"),
        ("http://[::1]/", "the address ::1 is a loopback address"),
        ("http://[::ffff:127.0.0.1]/", "is a loopback address"),
        ("http://169.254.169.254/latest", "is a link-local address"),
        ("http://[fd00:ec2::254]/", "is a cloud's metadata address"),
        ("http://100.100.100.200/", "is a cloud's metadata address"),
        ("http://0177.0.0.1/", "cannot be asked this"),
    ],
)
async def test_the_agents_own_url_is_checked_too(url: str, words: str) -> None:
    with pytest.raises(ToolProblem) as caught:
        await run(make_box(http(url), network=Network()))

    assert words in str(caught.value)
    assert str(caught.value).startswith("tool get_order: ")


async def test_link_local_is_reached_only_where_the_agent_says_so(server: Server) -> None:
    """Given a name with a link-local address; 127.0.0.1 stands in for one that answers."""

    def policy(address: str, *, allow_link_local: bool) -> str | None:
        return refusal(
            "169.254.1.1" if address == "127.0.0.1" else address, allow_link_local=allow_link_local
        )

    url = f"http://node.test:{server.port}/"
    with pytest.raises(ToolProblem, match="is a link-local address"):
        await run(
            make_box(http(url), network=Network(check=policy, resolve=NameServer(["127.0.0.1"]).resolve))
        )

    allowed = http(url, allowLinkLocal=True)
    assert await run(
        make_box(allowed, network=Network(check=policy, resolve=NameServer(["127.0.0.1"]).resolve))
    ) == {"ok": True}


async def test_a_name_server_that_does_not_answer_is_waited_for_no_longer_than_the_timeout() -> None:
    async def never(_: str, __: int) -> Sequence[str]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(ToolProblem, match=r"did not answer within 0\.1 s"):
        await run(make_box(http("http://orders.test/"), network=Network(resolve=never)), timeout_seconds=0.1)


async def test_proxies_of_the_environment_are_not_used_for_they_would_resolve_names_themselves(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert await run(make_box(http(server.url + "/"))) == {"ok": True}


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for orders.test, not for an address, and its key in the same file."""
    path = tmp_path / "both.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
    ]
    command += ["-subj", "/CN=test", "-addext", "subjectAltName=DNS:orders.test", "-days", "2"]
    subprocess.run(
        [*command, "-keyout", path, "-out", tmp_path / "cert.pem"], check=True, capture_output=True
    )
    path.write_bytes(path.read_bytes() + (tmp_path / "cert.pem").read_bytes())
    return path


async def test_a_certificate_is_checked_against_the_name_not_the_address(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("cert.pem")))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    named: list[str | None] = []
    context.sni_callback = lambda _, name, __: named.append(name)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nsecret")
        await writer.drain()
        writer.close()

    serving = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with serving:
        port = serving.sockets[0].getsockname()[1]
        names = network({"orders.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]})

        assert await run(make_box(http(f"https://orders.test:{port}/"), network=names)) == "secret"
        with pytest.raises(ToolProblem, match=r"cannot be reached: .*certificate"):
            await run(make_box(http(f"https://other.test:{port}/"), network=names))

    assert named == ["orders.test", "other.test"]


async def test_a_connection_to_one_name_serves_no_other_at_the_same_address(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a server that redirects to another name of its address, and would answer on the same connection."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("cert.pem")))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                there = f"Location: https://other.test:{port}/there\r\n".encode()
                status = b"200 OK\r\n" if b"/there" in asked else b"302 Found\r\n" + there
                writer.write(
                    b"HTTP/1.1 " + status + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
                )
                await writer.drain()
        writer.close()

    serving = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with serving:
        port = serving.sockets[0].getsockname()[1]
        names = network({"orders.test": ["127.0.0.1"], "other.test": ["127.0.0.1"]})

        with pytest.raises(ToolProblem, match=r"cannot be reached: .*certificate"):
            await run(make_box(http(f"https://orders.test:{port}/"), network=names))
