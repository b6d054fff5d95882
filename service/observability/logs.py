"""Logs as one JSON object per line on standard error. Images and labels of callers never appear in them."""

from __future__ import annotations

import json
import logging
import logging.config
from datetime import UTC, datetime

STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {key: value for key, value in vars(record).items() if key not in STANDARD_FIELDS}
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


OWN = ("service", "uvicorn", "uvicorn.error")


def configure_logging(level: str) -> None:
    """Send everything, uvicorn's own messages included, through one handler.

    Libraries stay at warnings whatever the level: their debug messages quote what they work on (Pillow an image's
    EXIF).
    """
    libraries = level if level == "error" else "warning"
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": JsonFormatter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"level": libraries.upper(), "handlers": ["stderr"]},
            "loggers": {name: {"level": level.upper(), "handlers": [], "propagate": True} for name in OWN},
        }
    )
    logging.captureWarnings(True)
