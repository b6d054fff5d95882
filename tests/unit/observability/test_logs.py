"""Logs: one JSON object per line, with nothing in it that belongs to a caller."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from service.observability.logs import JsonFormatter

ROOT = Path(__file__).parents[3]
LOGGING = """
import logging, warnings, sys
from service.observability.logs import configure_logging
configure_logging(sys.argv[1])
for name in ("service.access", "uvicorn.error", "PIL.TiffImagePlugin", "asyncio", "python_multipart.multipart"):
    for level in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger(name), level)("%s of %s", level, name)
warnings.warn("take care")
"""


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.getLogger("service.test").makeRecord(
        "service.test", logging.INFO, __file__, 1, message, arguments, None, extra=extra
    )
    made.created = 0.1234
    return made


def test_a_record_is_one_line_of_json() -> None:
    line = JsonFormatter().format(record('two\nlines, a "quote" and %s', "猫", request_id="mine"))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:00.123+00:00",
        "level": "info",
        "logger": "service.test",
        "message": 'two\nlines, a "quote" and 猫',
        "request_id": "mine",
    }


def test_what_json_cannot_say_is_said_in_words() -> None:
    assert json.loads(JsonFormatter().format(record("x", path=Path("a"))))["path"] == "a"


def test_an_exception_brings_its_traceback() -> None:
    try:
        raise ZeroDivisionError("why")
    except ZeroDivisionError:
        made = logging.getLogger("x").makeRecord("x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    assert "ZeroDivisionError: why" in json.loads(JsonFormatter().format(made))["traceback"]


def logged(level: str) -> list[dict[str, str]]:
    command = [sys.executable, "-W", "default", "-c", LOGGING, level]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


@pytest.mark.parametrize(("level", "own"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_libraries_stay_at_warnings_since_their_debug_messages_quote_what_they_work_on(level: str, own: int) -> None:
    lines = logged(level)
    ours = [line for line in lines if line["logger"] in ("service.access", "uvicorn.error")]
    theirs = [line for line in lines if line["logger"].partition(".")[0] in ("PIL", "asyncio", "python_multipart")]
    warned = [line for line in lines if line["logger"] == "py.warnings"]
    assert len(ours) == 2 * own
    assert {line["level"] for line in theirs} == ({"error"} if level == "error" else {"warning", "error"})
    assert len(warned) == (level != "error")
