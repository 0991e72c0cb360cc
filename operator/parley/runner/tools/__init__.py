"""The tools of an agent as a runner has them: what the model is offered, and the calls that run in this pod.

Knows nothing of attempts, journals and approval: rounds decide what runs and when. ``box`` is the way in; only ``mcp``
imports the MCP library, and only when an agent has such tools.
"""
