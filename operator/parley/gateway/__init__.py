"""The HTTP API: for runners, for people and programs, and health and metrics. Any number of replicas, no state.

``access`` finds out who a person is and what they may do, ``api`` has the routes for them, ``live`` hears of what
happens. It may import ``parley.api``, ``parley.store``, ``parley.kube``, ``parley.protocol`` and ``parley.resources``;
never the controller, the runner or the engine.
"""
