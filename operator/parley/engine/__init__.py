"""What a task does next: pure functions from what is known to what to do and what to show.

``plan`` decides what the task does, as ``actions``, from its rows and surroundings (``state``): ``flow`` which steps
are ready, ``waiting``, ``single``, ``fan_out`` and ``rounds`` what each kind of step does, ``calls`` what a paused
attempt's tool calls come to, ``step_plan`` and ``children`` what an open attempt asks for, ``retries`` what follows a
failed one, ``starting`` what holds one back, ``shared_runner`` and ``warm_runner`` who runs it in modes Task and Warm,
``pods`` what its pod shows. ``status``, ``summary`` and ``budget`` build what users see, ``schedule`` and
``cron`` tell when Schedules run, ``names`` derives object names.
No I/O, no clock of its own (``now`` is an argument), no template is rendered here: all that may be imported is
``parley.resources`` and ``parley.protocol``.
"""
