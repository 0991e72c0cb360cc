"""The items of a forEach, sorted by what becomes of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from parley.engine.retries import Again, Spent, what_follows
from parley.engine.state import Attempt, Wait
from parley.engine.views import ItemCounts
from parley.resources.reasons import Reason
from parley.resources.task import Step, StepPhase


@dataclass(slots=True)
class Items:
    """All items of a step, each in one of the groups."""

    total: int
    open: list[Attempt] = field(default_factory=list[Attempt])
    untried: list[int] = field(default_factory=list[int])
    again: dict[int, Again] = field(default_factory=dict[int, Again])
    """To be repeated, by item."""
    spent: dict[int, Spent] = field(default_factory=dict[int, Spent])
    """Failed for good, by item."""
    paused: dict[int, Sequence[Wait]] = field(default_factory=dict[int, Sequence[Wait]])
    """Those that wait for calls of theirs, with these."""
    succeeded: int = 0
    last: dict[int, Attempt] = field(default_factory=dict[int, Attempt])
    """The newest attempt of each item that was tried."""

    @property
    def failed(self) -> int:
        """How many items failed by themselves, not because others did."""
        return sum(spent.phase is StepPhase.FAILED for spent in self.spent.values())

    @property
    def left(self) -> bool:
        """Whether items are still to be tried."""
        return bool(self.untried or self.again)

    @property
    def under_way(self) -> bool:
        """Whether items have begun that are not over."""
        return bool(self.open or self.paused)

    def number(self, item: int) -> int:
        """Return the number of an item's next attempt."""
        return self.last[item].number + 1 if item in self.last else 1

    def counts(self, active: int) -> ItemCounts:
        """Count them for status."""
        return ItemCounts(self.total, self.succeeded, self.failed, active)

    def verdict(self) -> tuple[Reason, str]:
        """Say why the step failed: by its first item that did."""
        failures = {item: spent for item, spent in self.spent.items() if spent.phase is StepPhase.FAILED}
        item, first = min((failures or self.spent).items())
        others = f" ({self.failed} of {self.total} items failed)" if self.failed > 1 else ""
        return first.reason, f"item {item}: {first.message}{others}"


def sort_items(
    step: Step, attempts: tuple[Attempt, ...], total: int, calls: Mapping[int, Sequence[Wait]] | None = None
) -> Items:
    """Sort a step's items by their attempts, which come by item and then by number, and their open calls."""
    calls = calls or {}
    tried: defaultdict[int, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        tried[attempt.item].append(attempt)
    items = Items(total)
    for item in range(total):
        of_item = tried.get(item)
        if not of_item:
            items.untried.append(item)
            continue
        last = items.last[item] = of_item[-1]
        if last.open:
            items.open.append(last)
        elif last.phase == "Succeeded":
            items.succeeded += 1
        elif last.phase == "Paused" and item in calls:
            items.paused[item] = calls[item]
        else:
            follows = what_follows(step, of_item)
            if isinstance(follows, Again):
                items.again[item] = follows
            else:
                items.spent[item] = follows
    return items
