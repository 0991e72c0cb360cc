"""The Python client of the gateway's HTTP API, synchronous and asynchronous: one method an operation.

It may import ``api``, ``protocol`` and ``resources``; nothing of a cluster, so that it runs anywhere.
"""
