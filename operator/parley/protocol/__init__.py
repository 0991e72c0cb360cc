"""What passes between operator, gateway and runner: an attempt's request and the runner's HTTP messages.

Only pydantic models and constants belong here. It may import ``parley.resources`` and nothing else of Parley, so
that the runner can use it without a database driver or a Kubernetes client.
"""
