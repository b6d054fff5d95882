"""The command line, `quorum`. What is heavy is imported inside the commands, so that help and completion are quick."""

from service.cli.main import app

__all__ = ["app"]
