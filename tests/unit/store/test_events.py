"""Ids follow from the origin: the same place is the same event, any other place another."""

from uuid import UUID

from parley.store.events import derived_id


def test_ids_never_change() -> None:
    """Events in people's stores bear these ids."""
    assert derived_id("task", "reply", -1, 0) == UUID("435ba8f0-9b87-52a5-8a53-d58cf7f4434e")


def test_each_place_has_its_own() -> None:
    places = [
        derived_id(task, step, item, *place)
        for task in ("a", "b")
        for step in ("reply", "reply-1")
        for item in (-1, 0, 1)
        for place in ((0,), (1,), (11,), (1, 1), ("wait", 1, 1), ("call", 1, 1), ("call", 1, -1))
    ]
    assert len(set(places)) == len(places)
