"""Cron expressions in a time zone: which instants are slots of a schedule; pure.

As Kubernetes' CronJob does it where clocks change: a time that a day does not have is left out, and one that a day
has twice comes twice.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

_FIELDS = 5
_HOW = "write five fields: minute hour day-of-month month day-of-week, such as 30 8 * * 1-5"
_ZONE_NAME = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_PROBE = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall-clock time, of no zone


class CronError(ValueError):
    """It is no cron expression, or there is no such time zone; the message says what to write.

    Attributes:
        field: of a Schedule's spec: ``schedule`` or ``timeZone``.
    """

    def __init__(self, message: str, field: str = "schedule") -> None:
        super().__init__(message)
        self.field = field


class Cron:
    """A cron expression with its time zone."""

    def __init__(self, expression: str, zone: str = "Etc/UTC") -> None:
        """Read both.

        Args:
            expression: five fields: minute, hour, day of month, month, day of week.
            zone: a name of the IANA time zone database, such as ``Europe/Berlin``.

        Raises:
            CronError: one of them cannot be read, or the expression never comes true.
        """
        self._fields = _fields(expression)
        self._zone = read_zone(zone)
        try:
            next(CronSim(self._fields, _PROBE))
        except CronSimError as error:
            raise CronError(f"{expression!r}: {str(error)[:1].lower()}{str(error)[1:]}; {_HOW}") from error
        except StopIteration:
            raise CronError(f"{expression!r} never comes: no month has that day") from None

    def after(self, moment: datetime) -> datetime | None:
        """Return the first slot after an instant, in UTC; None if none comes within 50 years."""
        since, start, offset = moment, moment, self._offset(moment)
        while True:
            try:
                wall = next(CronSim(self._fields, _wall(start, offset)))
            except StopIteration:
                return None
            found = wall.replace(tzinfo=timezone(offset)).astimezone(UTC)
            change = self._change(since, found)
            if change is None:
                return found
            # The clocks change first: from there on the wall shows other times, from that very instant.
            since, start, offset = change, change - _SECOND, self._offset(change)

    def newest(self, after: datetime, until: datetime) -> datetime | None:
        """Return the last slot after one instant and not after another; None if there is none between."""
        if (first := self._within(after, until)) is None:
            return None
        low, high, newest = first, until, first
        while high - low > _SECOND:
            middle = low + (high - low) / 2
            later = self._within(middle, until)
            if later is None:
                high = middle
            else:
                low, newest = later, later
        return newest

    def count(self, after: datetime, until: datetime, most: int) -> int:
        """Count the slots after one instant and not after another, up to ``most``."""
        found = 0
        slot = self._within(after, until)
        while slot is not None and found < most:
            found += 1
            slot = self._within(slot, until)
        return found

    def _within(self, after: datetime, until: datetime) -> datetime | None:
        slot = self.after(after)
        return slot if slot is not None and slot <= until else None

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self._zone).utcoffset() or timedelta()

    def _change(self, since: datetime, until: datetime) -> datetime | None:
        """Return the first instant up to ``until`` at which the zone's offset is another than at ``since``."""
        before, low = self._offset(since), since
        while low < until:
            high = min(low + _DAY, until)
            if self._offset(high) != before:
                break
            low = high
        else:
            return None
        low, high = low.replace(microsecond=0), high.replace(microsecond=0)
        while high - low > _SECOND:
            middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
            low, high = (middle, high) if self._offset(middle) == before else (low, middle)
        return high


def read_zone(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        CronError: there is none of that name.
    """
    if _ZONE_NAME.fullmatch(name) and name != "localtime":
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise CronError(f"there is no time zone {name!r}: write one such as Europe/Berlin or Etc/UTC", "timeZone")


def _fields(expression: str) -> str:
    parts = expression.split()
    if parts and parts[0].upper().startswith(("TZ=", "CRON_TZ=")):
        raise CronError(f"{parts[0]!r} is not allowed here: the time zone stands in spec.timeZone")
    if len(parts) != _FIELDS:
        raise CronError(f"{expression!r} has {len(parts)} fields; {_HOW}")
    return " ".join("*" if part == "?" else part for part in parts)


def _wall(moment: datetime, offset: timedelta) -> datetime:
    """Return what a clock on the wall shows."""
    return moment.astimezone(timezone(offset)).replace(tzinfo=None)
