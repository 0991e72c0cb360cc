"""Templates: Jinja2, sandboxed. Compile, scope, rendering, and the operator's guarded evaluator process.

Rendering is pure and does no I/O; ``evaluator`` alone starts a process. What the evaluator's child imports
(``worker``, ``frames``, ``render``, ``compile``, ``values``, ``errors``) imports nothing but Jinja2 and the
standard library, so that the child is small: its memory is limited to 256 MiB in all. The rest may import
``parley.resources`` and ``parley.protocol``.
"""
