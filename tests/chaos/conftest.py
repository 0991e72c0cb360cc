"""The fixtures of the tests on the real cluster."""

from tests.e2e.conftest import cluster, namespace, store, tools

__all__ = ["cluster", "namespace", "store", "tools"]
