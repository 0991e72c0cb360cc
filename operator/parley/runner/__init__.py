"""What runs in a step pod: take an attempt from the gateway, ask the model, commit the outcome.

The runner talks to the gateway and to the model only: it may import ``parley.protocol``, ``parley.resources``
and ``parley.templates``, never the store, Kubernetes, the engine or the controller. ``model`` alone imports
the agent library, and only while the gateway's first answer is on its way, for that takes a second.
"""
