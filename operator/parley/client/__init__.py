"""The Python client of the gateway's HTTP API, synchronous and asynchronous: one method an operation.

It may import ``api``, ``protocol`` and ``resources``; nothing of a cluster, so that it runs anywhere.
"""

from parley.client.async_client import AsyncParley
from parley.client.errors import InvalidRequest, ParleyError, Unreachable
from parley.client.patience import Retries
from parley.client.streams import ChatItem, StreamItem
from parley.client.sync_client import Parley

__all__ = [
    "AsyncParley",
    "ChatItem",
    "InvalidRequest",
    "Parley",
    "ParleyError",
    "Retries",
    "StreamItem",
    "Unreachable",
]
