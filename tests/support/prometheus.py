"""Prometheus for tests: promtool's checks, and a real server that scrapes every second."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import yaml

from tests.support.monitoring import ALERTS

START_LIMIT_S: Final = 60.0
SCRAPE_S: Final = 1.0

Series = list[tuple[dict[str, str], float]]


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name} (Debian's package prometheus)")
    return found


def promtool(*words: str | Path) -> str:
    """What it prints; what it finds fault with fails the test."""
    command = [program("promtool"), *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@dataclass(frozen=True, slots=True)
class Target:
    """Who is scraped, at host:port, and the labels that a discovery would give it."""

    job: str
    address: str
    labels: Mapping[str, str] = field(default_factory=dict)


class PrometheusServer:
    """With the project's alerts loaded."""

    def __init__(self, folder: Path, port: int, targets: Sequence[Target]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder / "prometheus.log"
        self._folder = folder
        self._address = f"127.0.0.1:{port}"
        every = f"{SCRAPE_S:g}s"
        configuration = {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
            "rule_files": [str(ALERTS)],
            "scrape_configs": [
                {
                    "job_name": job,
                    "static_configs": [
                        {"targets": [each.address], "labels": dict(each.labels)} for each in targets if each.job == job
                    ],
                }
                for job in sorted({each.job for each in targets})
            ],
        }
        self._configuration = folder / "prometheus.yml"
        self._configuration.write_text(yaml.safe_dump(configuration), encoding="utf-8")

    @contextmanager
    def running(self) -> Iterator[None]:
        command = [
            program("prometheus"),
            f"--config.file={self._configuration}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self._address}",
        ]
        with self.log.open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            self._until_ready(process)
            yield
        finally:
            process.kill()
            process.wait(START_LIMIT_S)

    def ask(self, expression: str) -> Series:
        """Labels and value of each series that it has now. Raises `AssertionError` where it does not parse."""
        answer = httpx2.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=10.0).json()
        assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
        return [(each["metric"], float(each["value"][1])) for each in answer["data"]["result"]]

    def has(self, expression: str) -> bool:
        """Whether there is any number."""
        return any(not math.isnan(value) for _, value in self.ask(expression))

    def rules(self) -> list[dict[str, Any]]:
        """As it has loaded and evaluated them."""
        groups = httpx2.get(f"{self.url}/api/v1/rules", timeout=10.0).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def scrapes(self) -> float:
        """Rounds of scraping that every target has gone through and answered."""
        counted = [value for _, value in self.ask("sum_over_time(up[1h])")]
        return min(counted, default=0.0)

    def scraped_again(self, times: int = 2) -> None:
        """Returns when every target was scraped so many times more: the last of them saw what was before the call."""
        target = self.scrapes() + times
        wait_until(lambda: self.scrapes() >= target, "Prometheus does not scrape")

    def _until_ready(self, process: subprocess.Popen[bytes]) -> None:
        def ready() -> bool:
            if process.poll() is not None:
                pytest.fail(f"Prometheus did not start:\n{self.log.read_text()[-4000:]}")
            try:
                return httpx2.get(f"{self.url}/-/ready", timeout=2.0).status_code == 200
            except httpx2.TransportError:
                return False

        wait_until(ready, "Prometheus is not ready")


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    give_up_s = time.monotonic() + START_LIMIT_S
    while not condition():
        if time.monotonic() > give_up_s:
            pytest.fail(otherwise)
        time.sleep(0.1)
