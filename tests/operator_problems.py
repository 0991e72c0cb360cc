"""All that the operator finds wrong in an object by itself."""

from collections.abc import Mapping
from typing import Any

from parley.engine.cron import Cron, CronError
from parley.resources.kinds import KINDS
from parley.resources.problems import Problem
from parley.resources.schedule import ScheduleSpec
from parley.resources.validation import AnySpec, read_spec, spec_problems
from parley.templates.check import template_problems

MODELS: dict[str, Any] = {kind.name: kind.spec for kind in KINDS}


def operator_problems(manifest: Mapping[str, Any]) -> list[Problem]:
    """What is wrong in an object's spec, as the reconcilers find it."""
    read = read_spec(MODELS[manifest["kind"]], manifest["spec"])
    if isinstance(read, list):
        return read
    return [*spec_problems(read), *template_problems(read), *_cron_problems(read)]


def _cron_problems(spec: AnySpec) -> list[Problem]:
    try:
        if isinstance(spec, ScheduleSpec):
            Cron(spec.schedule, spec.time_zone)
    except CronError as error:
        return [Problem(f"spec.{error.field}", str(error))]
    return []
