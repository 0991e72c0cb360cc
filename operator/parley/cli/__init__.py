"""The command line ``parley``, also ``kubectl parley``.

``main`` has the list of commands, ``commands`` their arguments and help, one module a subject; the modules here do what
they say: ``*_view`` print, ``task_tree``, ``table`` and ``text`` are pure, ``following`` watches, ``doctor`` runs the
checks of ``*_check*`` and ``installation``. Objects of Kubernetes are read as the JSON they are (``reading``), so that
those of another version can be.

It may import ``client``, ``api``, ``kube`` and ``resources``. What takes long to import is imported by the command
that needs it: ``--help`` answers at once. Only ``live_kube`` and ``kubeconfig`` import the Kubernetes
client.
"""
