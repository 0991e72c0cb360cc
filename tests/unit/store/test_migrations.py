"""The migrations that ship are numbered from 1 without a gap."""

from parley.store.migrate import shipped_migrations


def test_numbers_have_no_gap() -> None:
    shipped = shipped_migrations()
    assert shipped
    assert [migration.number for migration in shipped] == [*range(1, len(shipped) + 1)]
