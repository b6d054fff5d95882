"""Load scenarios against a running gateway. Speaks HTTP only: nothing of `service` or `training` is imported here."""
