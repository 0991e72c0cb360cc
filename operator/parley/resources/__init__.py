"""The API: one pydantic module per kind, conditions and reasons, validation, and the CRD generator.

Only models and pure functions belong here: no I/O but in ``__main__`` (which writes ``crds/``), no Kubernetes
client, no database. It may import nothing else of Parley.
"""
