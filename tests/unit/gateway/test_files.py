"""What a container's output file holds: JSON, text, or nothing that could be an output."""

import json
from typing import Any

import pytest
from parley.gateway import files
from parley.gateway.files import FileRefused, read_file


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"amount": 7}', {"amount": 7}),
        (b"[1, 2]\n", [1, 2]),
        (b"7", 7),
        (b"null", None),
        (b"", None),
        (b" \n", None),
        (b"done\n", "done\n"),
        ("Grüße 🙂".encode(), "Grüße 🙂"),
        (b'{"broken": ', '{"broken": '),
        (b"NaN", "NaN"),
        (b"a,b\n" * 5, "a,b\n" * 5),
    ],
)
def test_a_file_is_json_where_it_is_json_else_text(raw: bytes, value: Any) -> None:
    assert read_file(raw) == value


def test_json_too_deep_to_be_read_again_stays_text() -> None:
    raw = b"[" * 100 + b"]" * 100

    assert read_file(raw) == raw.decode()
    assert read_file(b"[" * 100_000) == "[" * 100_000


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b"\x89PNG\r\n", "byte 0 is no UTF-8"),
        (b"ok\xff", "byte 2 is no UTF-8"),
        (b"a\0b", "character 1 is NUL"),
    ],
)
def test_binary_is_refused_with_the_place_and_a_way_out(raw: bytes, where: str) -> None:
    with pytest.raises(FileRefused, match="base64") as refused:
        read_file(raw)

    assert str(refused.value).startswith(f"/parley/output is binary: {where}")
    assert not refused.value.too_large


def test_json_of_too_many_values_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_VALUES", 100)

    with pytest.raises(FileRefused, match="more than 100 values") as refused:
        read_file(b"[" + b"[]," * 100 + b"[]]")

    assert refused.value.too_large


def test_signs_in_texts_are_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_VALUES", 100)
    value = {"csv": 'a,b,[{"\\' * 200, "ends with a backslash\\": ["x"]}

    assert read_file(json.dumps(value).encode()) == value
    # Text that is no JSON may have any number of them.
    assert read_file(b"a,b" * 1000) == "a,b" * 1000


@pytest.mark.parametrize("raw", [b'["' + b'\\"' * 4_000_000, b'["' + b"\\" * 8_000_001])
def test_strings_without_an_end_do_not_make_the_search_start_over_and_over(raw: bytes) -> None:
    """It would take hours, and the test's own time limit."""
    with pytest.raises(FileRefused, match="values"):
        read_file(raw + b"," * 2_000_000)
