"""The operator: Kopf watches, one keyed queue, a reconciler per kind, leader election.

Handlers only keep the projection and enqueue keys; reconcilers read, ask ``parley.engine`` for a plan and carry it
out. What to do is decided in the engine, never here; SQL lives in ``parley.store``, HTTP to the API server in
``parley.kube``.
"""
