"""`/v1/admin/log-level`: how much is logged, changed while the process runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.observability.logs import OWN, log_level, set_log_level
from tests.conftest import MakeApp, Serve
from tests.support.api import error_of
from tests.support.keys import api_key, bearer, keys_file

URL = "/v1/admin/log-level"


@pytest.fixture(autouse=True)
def _levels_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(), *map(logging.getLogger, OWN)]
    before = [each.level for each in loggers]
    set_log_level("info")
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


async def test_the_level_is_told_and_changed(client: httpx2.AsyncClient) -> None:
    assert (await client.get(URL)).json() == {"level": "info", "at_start": "info"}
    for level in ("debug", "error", "warning", "info"):
        response = await client.put(URL, json={"level": level})
        assert (response.status_code, response.json()) == (200, {"level": level, "at_start": "info"})
        assert (await client.get(URL)).json()["level"] == level


async def test_what_is_logged_changes_at_once(client: httpx2.AsyncClient, capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    try:
        await client.put(URL, json={"level": "error"})
        await client.get("/v1/models")
        await client.put(URL, json={"level": "debug"})
        logging.getLogger("service.some").debug("a detail")
        logging.getLogger("PIL.some").info("a library's")
    finally:
        logging.getLogger().removeHandler(handler)
    said = capsys.readouterr().err
    assert "the log level is error now; it was info" in said
    assert "the log level is debug now; it was error" in said
    assert "/v1/models" not in said
    assert "a detail" in said
    assert "library" not in said, "theirs quote what they work on"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"level": "loud"}, "level"),
        ({"level": "DEBUG"}, "level"),
        ({"level": 10}, "level"),
        ({}, "level"),
        ({"level": "info", "ttl_s": 5}, "ttl_s"),
    ],
)
async def test_a_level_that_is_none_is_refused_and_changes_nothing(
    client: httpx2.AsyncClient, body: dict[str, Any], param: str
) -> None:
    error = error_of(await client.put(URL, json=body), 422, "invalid_request")
    assert error["param"] == param
    assert log_level() == "info"


async def test_it_takes_the_scope_admin_and_the_log_names_the_key(
    make_app: MakeApp, serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = [api_key("w", "write"), api_key("a", "admin", name="operator")]
    async with serve(make_app(api_keys_file=keys_file(tmp_path, *keys))) as client:
        error_of(await client.get(URL), 401, "unauthorized")
        for method in ("GET", "PUT"):
            response = await client.request(method, URL, headers=bearer("w"), json={"level": "debug"})
            error_of(response, 403, "insufficient_scope")
        assert log_level() == "info"
        assert (await client.put(URL, json={"level": "debug"}, headers=bearer("a"))).status_code == 200
    (line,) = [record for record in caplog.records if "the log level is" in record.getMessage()]
    assert vars(line)["key"] == "operator"


@pytest.mark.parametrize(
    ("number", "level"), [(1, "debug"), (10, "debug"), (15, "debug"), (20, "info"), (30, "warning"), (50, "error")]
)
def test_a_level_between_ours_is_told_as_the_one_below(number: int, level: str) -> None:
    logging.getLogger("service").setLevel(number)
    assert log_level() == level
