"""Fixtures for every test; markers are set in the files or by the folder a test lives in."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.engines.base import Engine
from service.engines.fake import FakeEngine
from service.repository import Zoo, load_zoo
from service.settings import Settings, TracingSettings
from tests.support.redis import RedisServer, redis_at
from tests.support.repository import write_repository
from tests.support.triton import TritonServer, triton_server

ROOT = Path(__file__).parents[1]
START_LIMIT_S = 60.0

MakeApp = Callable[..., FastAPI]
Serve = Callable[[FastAPI], AbstractAsyncContextManager[httpx2.AsyncClient]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fail-on-skip", action="store_true", help="A skipped test fails the run (CI has everything).")
    parser.addoption(
        "--engine",
        choices=("fake", "onnx", "triton"),
        default="fake",
        help="What applications run on where a test names nothing else; tests that steer the fake engine are left out.",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--engine") == "fake":
        return
    steering = [item for item in items if "fake_engine" in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=steering)
    items[:] = [item for item in items if item not in steering]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped and terminalreporter.config.getoption("--fail-on-skip"):
        terminalreporter.write_line(f"{len(skipped)} tests were skipped, and --fail-on-skip was given", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and session.config.getoption("--fail-on-skip") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _log_levels_stay() -> Iterator[None]:
    """A test that leaves another log level behind fails by itself, not some later one that reads the log."""
    watched = [logging.getLogger(name) for name in (None, "service", "training")]
    before = [(logger.level, logger.disabled) for logger in watched]
    yield
    after = [(logger.level, logger.disabled) for logger in watched]
    for logger, (level, disabled) in zip(watched, before, strict=True):
        logger.setLevel(level)
        logger.disabled = disabled
    assert after == before, "it left the log level changed"


@pytest.fixture(scope="session")
def fake_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two backbones, `small` (0.25 GFLOPs) and `large` (1.5), with real graphs of a few hundred bytes."""
    return write_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def repository_copy(fake_repository: Path, tmp_path: Path) -> Path:
    """A repository that a test may damage."""
    return Path(shutil.copytree(fake_repository, tmp_path / "repository"))


@pytest.fixture
def fake_zoo(fake_repository: Path) -> Zoo:
    return load_zoo(fake_repository)


@pytest.fixture
def fake_engine(fake_zoo: Zoo) -> FakeEngine:
    return FakeEngine(fake_zoo)


@pytest.fixture(scope="session")
def triton(fake_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A real Triton server on the tiny repository, for tests that leave it as it is."""
    with triton_server(fake_repository, tmp_path_factory.mktemp("triton")) as server:
        yield server


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_at(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(shared_redis: RedisServer) -> RedisServer:
    """An empty Redis server that keeps running; who wants to stop one starts its own (`redis_at`)."""
    assert shared_redis.say("FLUSHALL") == "+OK"
    return shared_redis


@pytest.fixture
def make_app(request: pytest.FixtureRequest, fake_repository: Path, tmp_path: Path) -> MakeApp:
    """`make_app(engine=..., max_labels=3, ...)`: an application on the tiny repository, keywords are settings.

    `engine` is an engine or, as in the settings, the name of one; `triton` is a real server.
    """
    default: str = request.config.getoption("--engine")

    def make(*, engine: Engine | str = default, tracing: TracingSettings | None = None, **overrides: Any) -> FastAPI:
        settings = {
            "model_repository": fake_repository,
            "state_url": str(tmp_path / "state.sqlite3"),
            "galleries_url": str(tmp_path / "galleries.db"),
            "engine": engine if isinstance(engine, str) else "fake",
            **overrides,
        }
        if engine == "triton" and "triton_urls" not in overrides:
            server = request.getfixturevalue("triton")
            server.start_if_down()  # its gRPC server has crashed on its own before, once in many thousands of tests
            settings["triton_urls"] = (server.address,)
        given = None if isinstance(engine, str) else engine
        return create_app(Settings.model_validate(settings), engine=given, tracing=tracing)

    return make


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of `app` inside its lifespan, without a socket."""
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


@pytest.fixture
def serve() -> Serve:
    return served


@pytest.fixture
async def client(request: pytest.FixtureRequest, make_app: MakeApp) -> AsyncIterator[httpx2.AsyncClient]:
    """The whole API on the fake engine (`fake_engine` is the one that it uses), or on what `--engine` names."""
    chosen = request.config.getoption("--engine")
    async with served(
        make_app(engine=request.getfixturevalue("fake_engine") if chosen == "fake" else chosen)
    ) as client:
        yield client


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def live_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a real server process on the bundled zoo."""
    port = free_port()
    folder = tmp_path_factory.mktemp("live")
    environment = os.environ | {
        "QUORUM_MODEL_REPOSITORY": str(ROOT / "model_repository"),
        "QUORUM_STATE_URL": str(folder / "state.sqlite3"),
        "QUORUM_GALLERIES_URL": str(folder / "galleries.db"),
    }
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(url, process, folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=START_LIMIT_S)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            break
        try:
            if httpx2.get(f"{url}/readyz", timeout=2.0).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"the server did not become ready:\n{log.read_text()}")
