"""The store: what was said and done, in Postgres. Migrations, transactions and the listener belong here.

Every function takes an open connection, runs one transaction and keeps the invariants whoever calls
it: the operator's functions take a ``Fence`` and write nothing once another leader has raised the epoch; the
runner's calls (``runner_calls``) take a holder instead. Locks are taken in one order everywhere: leader,
sessions, tasks, turns, attempts, then the rest.

It may import ``parley.protocol`` and ``parley.resources``; never the engine, Kubernetes, templates, the
controller, the gateway or the runner.
"""
