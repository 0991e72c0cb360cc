"""Parley: conversations and long tasks of AI agents as Kubernetes resources.

Imports go one way: ``controller``, ``gateway``, ``runner`` → ``engine``, ``store``, ``kube``, ``templates`` →
``protocol`` → ``resources``. Nothing belongs in this module itself.
"""
