"""The load tests against gateways that somebody else runs: real ones behind an address, and addresses that are none."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadtest import external, render, results
from loadtest.cli import app
from loadtest.external import KEY_VARIABLE
from tests.conftest import free_port
from tests.support.gateway_process import gateway_process
from tests.support.keys import api_key, keys_file

KEYS = {KEY_VARIABLE: "reader"}


def load(out: Path, url: str, *arguments: str, **variables: str) -> Result:
    options = ["--quick", "--out", str(out), "--url", url]
    return CliRunner().invoke(app, [*options, *arguments], env={KEY_VARIABLE: None, **variables})


def test_a_running_gateway_is_loaded_and_the_result_says_that_it_is_external(
    environment: dict[str, str], tmp_path: Path
) -> None:
    keys = keys_file(tmp_path, api_key("reader", "read"))
    out = tmp_path / "results"
    with gateway_process(environment | {"QUORUM_API_KEYS_FILE": str(keys)}, tmp_path / "log") as url:
        closed = load(out, url, "closed", "--policy", "mean", "--policy", "single", **KEYS)
        opened = load(out, url, "open", "--load", "0.3", **KEYS)
    assert (closed.exit_code, opened.exit_code) == (0, 0), closed.output + opened.output
    found = results.read_all(out)
    assert [name.partition("-external-")[0] for name in found] == ["closed", "open"]
    for result in found.values():
        assert result["zoo"]["backbones"] == ["large", "small"]
        assert result["zoo"]["info"]["engine"] == "fake"
        assert result["settings"]["baseline"] == "none: the gateway is external"
        assert all(run["answered"] > 0 and not run["errors"] for run in result["runs"])
        assert all("gateway_peak_rss_mib" not in run for run in result["runs"]), "its processes cannot be seen"
        assert "reader" not in json.dumps(result)
        assert url not in json.dumps(result)
    cases = [run["case"] for result in found.values() for run in result["runs"]]
    assert set(cases) == {"mean", "single small"}, "by its own account the small one costs least"
    assert [run["load"] for run in found[max(found)]["runs"]] == [0.3]
    page = (out / render.PAGE).read_text()
    assert page.count("An external gateway (zoo ") == 2


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ({}, "A key is needed"),
        ({KEY_VARIABLE: "guess"}, "The key was refused"),
        ({KEY_VARIABLE: "a\r\nX-B: c"}, "is no key"),
    ],
)
def test_a_key_that_does_not_open_is_named_in_words(
    environment: dict[str, str], tmp_path: Path, key: dict[str, str], words: str
) -> None:
    keys = keys_file(tmp_path, api_key("reader", "read"))
    with gateway_process(environment | {"QUORUM_API_KEYS_FILE": str(keys)}, tmp_path / "log") as url:
        done = load(tmp_path / "results", url, "closed", **key)
    assert done.exit_code in (1, 2)
    assert words in flat(done.output)
    assert KEY_VARIABLE in flat(done.output)
    assert not (tmp_path / "results").exists(), "nothing was measured, so nothing is written"


def test_an_address_without_anybody_is_named_in_words(tmp_path: Path) -> None:
    port = free_port()
    done = load(tmp_path, f"http://127.0.0.1:{port}", "closed")
    assert done.exit_code == 1
    assert f"127.0.0.1:{port} cannot be reached" in flat(done.output)
    assert "cannot be reached" in flat(load(tmp_path, "http://nobody.invalid", "closed").output)


def test_what_speaks_something_else_is_named_in_words(tmp_path: Path, environment: dict[str, str]) -> None:
    with gateway_process(environment, tmp_path / "log") as url:  # HTTP, where TLS is spoken to it
        done = load(tmp_path, url.replace("http:", "https:"), "closed")
    assert done.exit_code == 1
    assert "cannot be reached" in flat(done.output)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_who_accepts_and_says_nothing_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setattr(external, "WITHIN_S", 0.2)
    started_s = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = load(tmp_path, f"{scheme}://127.0.0.1:{listening.getsockname()[1]}", "closed")
    assert time.monotonic() - started_s < 20
    assert done.exit_code == 1
    assert "did not answer within" in flat(done.output)


@pytest.mark.parametrize(
    "url", ["quorum.example", "ftp://quorum.example", "http://", "http://me:secret@quorum.example", "http://a/v1"]
)
def test_what_is_no_address_is_refused_before_anything_is_asked(tmp_path: Path, url: str) -> None:
    done = load(tmp_path, url, "closed")
    assert done.exit_code == 2
    assert "Traceback" not in done.output


@pytest.mark.parametrize("scenario", ["overhead", "throughput", "startup", "gallery", "cluster", "faults", "all"])
def test_scenarios_that_need_more_than_http_refuse_an_address(tmp_path: Path, scenario: str) -> None:
    done = load(tmp_path, "http://127.0.0.1:1", scenario)
    assert done.exit_code == 2
    assert "Only `closed` and `open`" in flat(done.output)


def flat(text: str) -> str:
    """Without the box that a message stands in, and its line breaks."""
    return " ".join(text.replace("│", " ").split())
