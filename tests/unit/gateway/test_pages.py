"""Pages of filtered lists: every object once, whatever the sizes; tokens are good for their own list only."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parley.gateway.access.refusal import Refusal
from parley.gateway.api.pages import FoundPage, OpenTokens, find_page, read_position, write_position


async def page(
    numbers: Sequence[int], *, limit: int, chunk: int, token: str | None = None, name: str = "evens"
) -> FoundPage[int]:
    async def read(size: int, after: str) -> tuple[Sequence[int], str]:
        begin = int(after or 0)
        return numbers[begin : begin + size], str(begin + size) if begin + size < len(numbers) else ""

    async def is_even(one: int) -> bool:
        return one % 2 == 0

    return await find_page(
        read,
        is_even,
        tokens=OpenTokens({"name": name}),
        limit=limit,
        token=token,
        chunk_size=chunk,
    )


@given(
    numbers=st.lists(st.integers(0, 9), max_size=60),
    limit=st.integers(1, 7),
    chunk=st.integers(1, 9),
    data=st.data(),
)
async def test_all_that_fits_comes_once_and_in_order(
    numbers: list[int], limit: int, chunk: int, data: st.DataObject
) -> None:
    found: list[int] = []
    token: str | None = None
    for _ in range(len(numbers) + 2):
        size = data.draw(st.integers(1, limit))
        got = await page(numbers, limit=size, chunk=chunk, token=token)
        assert len(got.items) <= size
        found += got.items
        token = got.next_page_token
        if token is None:
            break
    assert found == [one for one in numbers if one % 2 == 0]
    assert token is None


async def test_a_page_ends_after_so_many_objects_though_nothing_fits() -> None:
    got = await page([1] * 500, limit=5, chunk=20)
    assert got.items == []
    assert got.next_page_token is not None
    rest = await page([1] * 190 + [2], limit=5, chunk=20, token=got.next_page_token)
    assert rest.next_page_token is None


@pytest.mark.parametrize("token", ["", "x", "e30", "=", "ä", "%", "A" * 5000, "bnVsbA", "W10"])
async def test_a_made_up_token_is_refused(token: str) -> None:
    with pytest.raises(Refusal) as refused:
        await page([2], limit=1, chunk=1, token=token)
    assert refused.value.problem.reason == "InvalidPageToken"


async def test_a_token_is_good_for_its_own_list() -> None:
    token = (await page([2, 2, 2], limit=1, chunk=2)).next_page_token
    with pytest.raises(Refusal):
        await page([2, 2, 2], limit=1, chunk=2, token=token, name="odds")


def test_a_position_is_read_as_it_was_written() -> None:
    mine: dict[str, Any] = {"session": "a"}
    token = write_position("uid-1", mine)
    assert read_position(token, mine) == "uid-1"
    assert read_position(None, mine) is None
    with pytest.raises(Refusal):
        read_position(token, {"session": "b"})
