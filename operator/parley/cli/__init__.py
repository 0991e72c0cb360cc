"""The command line ``parley``, also ``kubectl parley``: one module a group of commands.

It may import ``client``, ``api``, ``kube`` and ``resources``. What takes long to import is imported by the command
that needs it: ``--help`` answers at once.
"""
