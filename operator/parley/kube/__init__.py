"""The one Kubernetes client: what Parley asks of an API server, its errors, its Lease and its Events.

Only ``transport`` imports the ``kubernetes`` package; everybody else depends on the ``KubeApi`` protocol in
``client``. Nothing here knows Parley's engine, store or gateway; it may import ``parley.resources`` only.
"""
