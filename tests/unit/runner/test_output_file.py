"""The file that a container leaves: read as it is, never through a link, and never more than is kept."""

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from parley.protocol.messages import MAX_FILE_BYTES as PROTOCOLS
from parley.runner import input_file
from parley.runner.output_file import MAX_FILE_BYTES, NoOutput, read_file, send

from tests.unit.runner.plain_gateway import PlainGateway, plain_gateway


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[PlainGateway]:
    with plain_gateway(tmp_path) as running:
        yield running


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


def test_all_agree_on_the_largest_file() -> None:
    assert MAX_FILE_BYTES == input_file.MAX_FILE_BYTES == PROTOCOLS


def test_a_file_is_sent_as_it_is(gateway: PlainGateway, output: Path) -> None:
    output.write_bytes(b'{"amount": 7}\n')

    assert send(gateway.settings, output) == 0

    (asked,) = gateway.asked
    assert (asked.path, asked.body) == ("/runner/v1/output", b'{"amount": 7}\n')


def test_an_empty_file_is_an_output(gateway: PlainGateway, output: Path) -> None:
    output.touch()

    assert send(gateway.settings, output) == 0
    assert [(asked.path, asked.body) for asked in gateway.asked] == [("/runner/v1/output", b"")]


def test_without_a_file_it_is_said_why(gateway: PlainGateway, output: Path) -> None:
    assert send(gateway.settings, output) == 0

    (asked,) = gateway.asked
    assert asked.path == "/runner/v1/output/problem"
    assert json.loads(asked.body) == {
        "problem": f"the container wrote no {output}: write the output there, or leave out outputFrom: File",
        "tooLarge": False,
    }


def test_a_file_that_is_too_large_is_not_even_read(gateway: PlainGateway, output: Path) -> None:
    with output.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)

    assert send(gateway.settings, output) == 0

    told = json.loads(gateway.asked[0].body)
    assert told == {
        "problem": f"{output} has {MAX_FILE_BYTES + 1} bytes; at most {MAX_FILE_BYTES} are kept",
        "tooLarge": True,
    }


def test_a_file_that_the_gateway_takes_for_too_large_is_told_so(gateway: PlainGateway, output: Path) -> None:
    output.write_bytes(b"x")
    gateway.answer(413, {"title": "Too large"})

    assert send(gateway.settings, output) == 0
    assert json.loads(gateway.asked[1].body)["tooLarge"] is True


@pytest.mark.parametrize("kind", ["link", "link to nothing", "directory", "pipe"])
def test_what_is_no_plain_file_is_never_followed(tmp_path: Path, output: Path, kind: str) -> None:
    """A link to the helper's own token would give it to the container."""
    (tmp_path / "secret").write_text("the-token")
    match kind:
        case "link":
            output.symlink_to(tmp_path / "secret")
        case "link to nothing":
            output.symlink_to(tmp_path / "nothing")
        case "directory":
            output.mkdir()
        case _:
            os.mkfifo(output)

    with pytest.raises(NoOutput, match="file of that name"):
        read_file(output)


def test_a_file_that_others_may_not_read_says_what_to_do(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")  # root, who may run this, reads everything

    monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(NoOutput, match="chmod a"):
        read_file(output)


@pytest.mark.parametrize(("status", "code"), [(410, 0), (409, 0), (422, 1)])
def test_told_to_stop_is_a_clean_end_and_refused_is_none(
    gateway: PlainGateway, output: Path, status: int, code: int
) -> None:
    output.write_bytes(b"x")
    gateway.answer(status)

    assert send(gateway.settings, output) == code
