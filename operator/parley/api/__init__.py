"""The gateway's HTTP API for people and programs, as models: the bodies of requests and answers, one module a subject.

The gateway serves them, the client and the CLI read them; the OpenAPI document is made from them. Nothing here does
I/O. It may import ``resources`` and ``protocol``.
"""
