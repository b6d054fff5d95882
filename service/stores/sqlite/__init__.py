"""State in one SQLite file: the default of a single machine, shared by the gateways that run on it."""

from service.stores.sqlite.state import SqliteState

__all__ = ["SqliteState"]
