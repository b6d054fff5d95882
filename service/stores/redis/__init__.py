"""State in one Redis server, shared by gateways on any number of machines."""

from service.stores.redis.state import RedisState

__all__ = ["RedisState"]
