"""Who calls, and what they may do: Kubernetes' own answers, kept for seconds. Policy is RBAC and nothing else.

Every route for people is of ``people_router`` (``route``), which finds out who calls before a body is read, and takes
what it needs from ``dependencies``, which ask the API server whether the caller may.
"""
