"""What the kubelet asks of a warm runner."""

import asyncio

from parley.runner.liveness import answering


async def ask(port: int, said: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_it_is_told_that_the_runner_turns() -> None:
    async with answering(0, "127.0.0.1") as port:
        first, second = await asyncio.gather(*(ask(port, b"GET /live HTTP/1.1\r\n\r\n") for _ in range(2)))

    assert first == second
    assert first.startswith(b"HTTP/1.1 200 ")


async def test_what_is_no_request_gets_no_answer_and_harms_nothing() -> None:
    async with answering(0, "127.0.0.1") as port:
        assert await ask(port, b"GET") == b""
        assert await ask(port, b"x" * 10_000) == b""
        assert (await ask(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
