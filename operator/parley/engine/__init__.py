"""What a task does next: pure functions from what is known to what to do and what to show.

``pods`` judges a step's pod, ``step_plan`` decides what a step does next, ``plan`` what the task does, as ``actions``;
``status`` and ``budget`` build what users see, ``names`` derives object names. No I/O, no clock of its own (``now`` is
an argument), no template is rendered here: all that may be imported is ``parley.resources`` and ``parley.protocol``.
"""
