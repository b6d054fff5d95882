"""The page for operators is true: its commands do what it says, its figures are current, every alert is told."""

from __future__ import annotations

import asyncio
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import yaml

from service.repository import load_zoo
from service.stores.base import State
from service.stores.redis import RedisState
from service.stores.sqlite import SqliteState
from tests.conftest import ROOT, free_port
from tests.support.api import LABELS, classify_call
from tests.support.chart import render
from tests.support.fitted import controller_content
from tests.support.gateway_process import gateway_process
from tests.support.images import jpeg
from tests.support.keys import bearer
from tests.support.operations import TEXT, blocks, run, section
from tests.support.redis import RedisServer, redis_at
from tests.support.state import RETENTION, Ups

PATIENCE_S = 60.0
NAMES = 8
ALERTS = (ROOT / "helm/files/alerts.yml").read_text(encoding="utf-8")


def test_every_alert_is_explained_under_its_name_and_no_other() -> None:
    told = re.findall(r"^### (\w+)$", section("Alerts"), re.MULTILINE)
    assert len(told) == len(set(told))
    assert set(told) == set(re.findall(r"alert: (\w+)", ALERTS))


def test_runbooks_lead_to_headings() -> None:
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)}
    links = re.findall(r"operations\.md#([\w-]+)", ALERTS) + re.findall(r"\]\(#([\w-]+)\)", TEXT)
    assert links
    assert set(links) <= anchors


def test_metrics_that_the_page_names_exist() -> None:
    known = set(re.findall(r"`(quorum_\w+)`", (ROOT / "docs/metrics.md").read_text(encoding="utf-8")))
    assert known
    assert set(re.findall(r"\bquorum_[a-z_]+", TEXT)) <= known


def test_the_sizes_are_what_the_committed_results_give() -> None:
    (command,) = blocks(section("Sizing"))
    shown = re.search(r"<!-- written by sizing -->\n(.*?)<!-- end of sizing -->", TEXT, re.DOTALL)
    assert shown is not None
    assert shown[1].strip() == run(command, {}).strip(), "put the command's output between the two marks"


def test_settings_that_the_page_names_exist_and_how_a_gateway_leaves_is_told() -> None:
    known = set(re.findall(r"`(QUORUM_\w+)`", (ROOT / "docs/settings.md").read_text(encoding="utf-8")))
    named = set(re.findall(r"\bQUORUM_[A-Z_]+", TEXT))
    assert named - {"QUORUM_CLIENT_API_KEY"} <= known
    assert {"QUORUM_DRAIN_DELAY_S", "QUORUM_DRAIN_TIMEOUT_S"} <= named
    assert "/v1/admin/log-level" in TEXT


def test_commands_for_a_cluster_name_what_exists() -> None:
    for command in (line.strip() for block in blocks(TEXT, "console") for line in block.splitlines()):
        assert command.startswith(("kubectl ", "helm ", "curl ", "export ", ".venv/bin/python -m loadtest ")), command
        for path in re.findall(r"(?<![\w.])\./(\w+)", command):
            assert (ROOT / path).exists(), path


def test_the_second_release_comes_up_on_the_state_of_the_first_and_is_let_in() -> None:
    """The chart takes the page's options, and its policy joins what the chart's labels name."""
    text = section("Change the zoo without an interruption")
    (install,) = (line for block in blocks(text, "console") for line in block.splitlines() if "helm install" in line)
    given = dict(option.split("=", 1) for option in re.findall(r"--set (\S+)", install))
    assert given["state.builtin.enabled"] == "false"
    values = {
        "modelRepository": {"existingClaim": "zoos", "subPath": given["modelRepository.subPath"]},
        "state": {"builtin": {"enabled": False}, "url": given["state.url"]},
    }
    first, second = render(), render(values, release="quorum-b")
    (policy,) = (yaml.safe_load(block) for block in blocks(text, "yaml"))
    (server,) = (each for each in first if each["kind"] == "StatefulSet")
    (gateway,) = (each for each in second if each["kind"] == "Deployment" and "gateway" in each["metadata"]["name"])
    caller = policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels_of(server).items()
    assert caller.items() <= labels_of(gateway).items()
    assert not caller.items() <= labels_of(server).items()
    assert server["metadata"]["name"] in given["state.url"]
    assert not [each for each in second if each["kind"] == "StatefulSet"]


def labels_of(workload: dict[str, Any]) -> dict[str, str]:
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return labels


class Writer(threading.Thread):
    """Writes label sets one after the other without a pause: the n-th write is seen in what was written."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.acknowledged = 0
        self.ended = threading.Event()
        self._url = url

    def run(self) -> None:
        with httpx2.Client(base_url=self._url, timeout=PATIENCE_S) as client:
            while not self.ended.is_set():
                number = self.acknowledged + 1
                body = {"labels": [f"written {number}", "other"]}
                answer = client.put(f"/v1/label-sets/busy-{number % NAMES}", json=body)
                assert answer.status_code in (200, 201), answer.text
                self.acknowledged = number


def while_writing(url: str, work: Callable[[], object]) -> tuple[int, int]:
    """How many writes were acknowledged before `work` began and after it ended."""
    writer = Writer(url)
    writer.start()
    try:
        until(lambda: writer.acknowledged > 2 * NAMES)
        before = writer.acknowledged
        work()
        after = writer.acknowledged
        until(lambda: writer.acknowledged > after + NAMES)
    finally:
        writer.ended.set()
        writer.join(PATIENCE_S)
    return before, after


def check_one_moment(url: str, before: int, after: int) -> None:
    """What was restored is all of one moment of the backup: the last `NAMES` writes, one after the other."""
    page = httpx2.get(f"{url}/v1/label-sets", params={"limit": 100}).json()["data"]
    numbers = sorted(int(each["labels"][0].split()[1]) for each in page if each["name"].startswith("busy-"))
    assert numbers == list(range(numbers[-1] - NAMES + 1, numbers[-1] + 1))
    assert before <= numbers[-1] <= after + 1


def controller_of(url: str) -> str | None:
    """Who weighs the votes on the label set `pets`; None while it is not there."""
    answer = httpx2.post(f"{url}/v1/classify", json=classify_call(jpeg(), label_set="pets"), timeout=PATIENCE_S)
    if answer.status_code != 200:
        return None
    (result,) = answer.json()["results"]
    assert {each["label"] for each in result["predictions"]} == set(LABELS)
    return f"{result['policy']} {result['controller']}"


def teach(url: str, state: State, repository: Path) -> None:
    """The label set `pets`, and a controller for it as a fit would have stored it."""
    assert httpx2.put(f"{url}/v1/label-sets/pets", json={"labels": LABELS}).status_code == 201

    async def put() -> None:
        await state.start()
        stored = await state.label_sets.get("pets")
        assert stored is not None
        content = controller_content(load_zoo(repository), 0.5, 2.0)
        await state.artefacts.put("pets", "controller", stored.label_set.digest, content)
        await state.close()

    asyncio.run(put())
    until(lambda: controller_of(url) == "nlc pets/1")


def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_sqlite_is_backed_up_under_load_lost_and_restored(
    environment: dict[str, str], fake_repository: Path, tmp_path: Path
) -> None:
    backup, restore = blocks(section("SQLite", 3))
    places = {"var/backup": str(tmp_path / "backup"), "var/quorum.sqlite3": environment["QUORUM_STATE_URL"]}
    path = Path(environment["QUORUM_STATE_URL"])
    with gateway_process(environment, tmp_path / "log") as url:
        teach(url, SqliteState(path, RETENTION), fake_repository)
        before, after = while_writing(url, lambda: run(backup, places))
    shutil.rmtree(path.parent)
    with gateway_process(environment, tmp_path / "log") as url:
        assert controller_of(url) is None, "all is lost, and what is written now will be given up"
        assert httpx2.put(f"{url}/v1/label-sets/late", json={"labels": LABELS}).status_code == 201
    run(restore, places)
    with gateway_process(environment, tmp_path / "log") as url:
        assert controller_of(url) == "nlc pets/1"
        check_one_moment(url, before, after)
        assert httpx2.get(f"{url}/v1/label-sets/late").status_code == 404


def test_redis_is_backed_up_under_load_lost_and_restored_while_the_gateway_runs(
    environment: dict[str, str], fake_repository: Path, tmp_path: Path
) -> None:
    backup, restore = blocks(section("Redis", 3))
    with redis_at(tmp_path) as server:
        places = {
            "var/backup": str(tmp_path / "backup"),
            "-p 6379": f"-p {server.port}",
            "6390": str(free_port()),
        }
        own = environment | {"QUORUM_STATE_URL": server.url}
        with gateway_process(own, tmp_path / "log") as url:
            teach(url, RedisState(server.url, RETENTION, Ups()), fake_repository)
            before, after = while_writing(url, lambda: run(backup, places))
            lose(server, tmp_path)
            until(lambda: controller_of(url) is None)
            run(restore, places)
            until(lambda: controller_of(url) == "nlc pets/1")
            check_one_moment(url, before, after)
            server.restart()  # killed: it is in the server's own log by now
            until(lambda: writes(url))
            assert controller_of(url) == "nlc pets/1"
            check_one_moment(url, before, after)


def lose(server: RedisServer, folder: Path) -> None:
    server.kill()
    data = folder / f"redis-{server.port}"
    for each in data.iterdir():
        if each.name != "log":
            shutil.rmtree(each) if each.is_dir() else each.unlink()
    server.start()


def writes(url: str) -> bool:
    return httpx2.put(f"{url}/v1/label-sets/after", json={"labels": LABELS}).status_code in (200, 201)


class SecretVolume:
    """A folder as the kubelet keeps one for a Secret: files are links into `..data`, a link that is swapped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._versions = 0
        folder.mkdir()
        (folder / "keys.toml").symlink_to("..data/keys.toml")

    def swap(self, content: str) -> None:
        self._versions += 1
        version = self._folder / f"..2026_{self._versions}"
        version.mkdir()
        (version / "keys.toml").write_text(content, encoding="utf-8")
        (self._folder / "..data_tmp").symlink_to(version.name)
        (self._folder / "..data_tmp").replace(self._folder / "..data")


def test_keys_are_rotated_in_a_mounted_secret_and_nobody_is_refused_between(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (block,) = blocks(section("Rotate keys"))
    add, show, remove = block.splitlines()
    edited, mounted = tmp_path / "keys.toml", SecretVolume(tmp_path / "mounted")
    places = {"var/keys.toml": str(edited)}
    old = run(add.replace("web-2", "web"), places).strip()
    mounted.swap(edited.read_text())
    own = environment | {"QUORUM_API_KEYS_FILE": str(tmp_path / "mounted/keys.toml")}
    with gateway_process(own, tmp_path / "log") as url:
        assert opens(url, old)
        new = run(add, places).strip()
        assert not opens(url, new), "not in the mounted file yet"
        mounted.swap(edited.read_text())
        time.sleep(1.0)  # how long the page says that it takes
        assert (opens(url, new), opens(url, old)) == (True, True)
        assert "web-2" in run(show, places)
        run(remove, places)
        mounted.swap(edited.read_text())
        time.sleep(1.0)
        assert (opens(url, new), opens(url, old)) == (True, False)
        mounted.swap("[broken")
        time.sleep(1.0)
        assert (opens(url, new), opens(url, old)) == (True, False), "a broken file changes nothing"
        assert "quorum_keys_current 0.0" in httpx2.get(f"{url}/metrics").text


def opens(url: str, key: str) -> bool:
    status = httpx2.get(f"{url}/v1/models", headers=bearer(key)).status_code
    assert status in (200, 401)
    return status == 200


def test_every_block_that_the_page_says_is_run_is_run() -> None:
    run_here = [*blocks(section("Sizing")), *blocks(section("SQLite", 3)), *blocks(section("Redis", 3))]
    assert blocks(TEXT) == [*run_here, *blocks(section("Rotate keys"))]
