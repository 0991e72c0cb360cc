"""The HTTP API: today the runner's endpoints, health and metrics. Any number of replicas, no state of its own.

It may import ``parley.store``, ``parley.kube``, ``parley.protocol`` and ``parley.resources``; never the
controller, the runner or the engine. From Kubernetes it reads only whose a token is, that pod and its owner.
"""
