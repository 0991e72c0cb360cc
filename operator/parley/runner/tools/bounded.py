"""The body of an answer, unpacked and counted as it comes: neither an endless one nor a small bomb fills the pod."""

import zlib
from collections.abc import AsyncIterator, Callable

import httpx2

_PIECE_BYTES = 64 * 1024
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


class AnswerTooLarge(httpx2.ReadError):
    """The body is larger than is read; ``limit`` is that many bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the answer is larger than {limit // 1024} KiB")
        self.limit = limit


class BoundedStream(httpx2.AsyncByteStream):
    """A body of at most so many bytes, without the encoding that it came in.

    Args:
        inner: as it came.
        encoding: of the ``Content-Encoding`` header.
        limit: bytes, unpacked.
        failed: told of what is raised while it is read.
    """

    def __init__(
        self,
        inner: httpx2.AsyncByteStream,
        encoding: str,
        limit: int,
        failed: Callable[[httpx2.TransportError], None],
    ) -> None:
        self._inner = inner
        self._encoding = encoding.strip().lower()
        self._limit = limit
        self._failed = failed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._limit
        try:
            async for piece in self._unpacked():
                left -= len(piece)
                if left < 0:
                    raise AnswerTooLarge(self._limit)
                yield piece
        except httpx2.TransportError as error:
            self._failed(error)
            raise

    async def aclose(self) -> None:
        """Close the connection."""
        await self._inner.aclose()

    async def _unpacked(self) -> AsyncIterator[bytes]:
        if self._encoding in {"", "identity"}:
            async for chunk in self._inner:
                yield chunk
            return
        if self._encoding not in {"gzip", "x-gzip", "deflate"}:
            raise httpx2.ReadError(
                f"the answer is encoded as {self._encoding[:32]!r}, which was not asked for"
            )
        unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        empty = True
        try:
            async for chunk in self._inner:
                packed, empty = chunk, False
                while packed and not unpacker.eof:
                    yield unpacker.decompress(packed, _PIECE_BYTES)
                    packed = unpacker.unconsumed_tail
        except zlib.error as error:
            raise httpx2.ReadError(f"the answer cannot be unpacked: {error}") from None
        if not (unpacker.eof or empty):  # an answer to HEAD has the header, and no body
            raise httpx2.ReadError("the answer ends in the middle")


def without_encoding(headers: httpx2.Headers) -> httpx2.Headers:
    """Return the headers of an answer whose body is unpacked."""
    kept = headers.copy()
    if "content-encoding" in kept:
        for name in ("content-encoding", "content-length"):
            kept.pop(name, None)
    return kept
