"""Fixtures for all tests."""

from tests.postgres import database, empty_database, postgres_server

__all__ = ["database", "empty_database", "postgres_server"]
