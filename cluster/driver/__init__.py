"""Brings up a real one-node Kubernetes on this machine, without Docker.

Standard library only, because it runs before anything is installed; it may
not import the `parley` package.
"""
