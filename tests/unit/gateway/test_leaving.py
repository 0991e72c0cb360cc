"""Callers who leave before they have said all: nobody's fault, and nothing to log."""

import logging

import pytest
from fastapi import FastAPI, Request
from parley.gateway.problems import add_problem_handlers
from starlette.types import Message, Scope


async def test_who_leaves_while_the_body_is_read_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI()
    add_problem_handlers(app)

    @app.post("/v1/read")
    async def read(request: Request) -> None:  # pyright: ignore[reportUnusedFunction]
        await request.body()

    sent: list[Message] = []
    came = iter(
        [
            {"type": "http.request", "body": b"ha", "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive() -> Message:
        return next(came)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/read",
        "query_string": b"",
        "headers": [],
    }
    with caplog.at_level(logging.INFO):
        await app(scope, receive, send)

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert sent[0]["status"] == 400
