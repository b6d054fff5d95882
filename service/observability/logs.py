"""Logs as one JSON object per line on standard error. Images and labels of callers never appear in them."""

from __future__ import annotations

import json
import logging
import logging.config
from datetime import UTC, datetime
from typing import Final

from service.policies import LogLevel
from service.trail import log_fields

STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}

LEVELS: Final[dict[LogLevel, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


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


class RequestFields(logging.Filter):
    """Gives a line what is known of the request that it was written for, wherever that is (`service.trail`)."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in log_fields().items():
            if name not in vars(record):
                setattr(record, name, value)
        return True


OWN: Final = ("service", "uvicorn", "uvicorn.error")


def configure_logging(level: LogLevel) -> None:
    """Send everything, uvicorn's own messages included, through one handler.

    Libraries stay at warnings whatever the level: their debug messages quote what they work on (Pillow an image's
    EXIF).
    """
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": JsonFormatter}},
            "filters": {"request": {"()": RequestFields}},
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["request"]},
            },
            "root": {"handlers": ["stderr"]},
            "loggers": {name: {"handlers": [], "propagate": True} for name in OWN},
        }
    )
    logging.captureWarnings(True)
    set_log_level(level)


def set_log_level(level: LogLevel) -> None:
    """Of this process, from now on."""
    libraries = level if level == "error" else "warning"
    logging.getLogger().setLevel(libraries.upper())
    for name in OWN:
        logging.getLogger(name).setLevel(level.upper())


def log_level() -> LogLevel:
    """The least severe level that is logged now."""
    effective = logging.getLogger(OWN[0]).getEffectiveLevel()
    return max((each for each in LEVELS if LEVELS[each] <= effective), key=lambda each: LEVELS[each], default="debug")
