"""The commands of ``parley``, as click has them: arguments, options, help. One module a subject.

They import click and ``parley.cli.app`` at once; everything else inside the function that needs it, so that ``--help``
answers before anything heavy is loaded.
"""
