"""The page on a server that asks for keys."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import ROOT, START_LIMIT_S, free_port, wait_until_ready
from tests.support.keys import api_key, keys_file
from tests.support.playground import DESKTOP, NEEDS_BROWSER, classify, opened

pytestmark = NEEDS_BROWSER


@pytest.fixture(scope="module")
def locked_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base URL of a real server with one key that may read, `reader`, and one that may write, `writer`."""
    port, folder = free_port(), tmp_path_factory.mktemp("locked")
    environment = os.environ | {
        "QUORUM_API_KEYS_FILE": str(keys_file(folder, api_key("reader", "read"), api_key("writer", "write"))),
        "QUORUM_MODEL_REPOSITORY": str(ROOT / "model_repository"),
        "QUORUM_STATE_URL": str(folder / "state.sqlite3"),
        "QUORUM_GALLERIES_URL": "off",
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


@pytest.fixture
def locked(browser: Browser, locked_server: str) -> Iterator[Page]:
    with browser.new_context(viewport=DESKTOP, reduced_motion="reduce") as context:
        yield opened(context.new_page(), locked_server)


def give(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    with page.expect_response("**/v1/label-sets*"):
        page.get_by_label("API key").press("Tab")


def test_a_page_without_a_key_asks_for_one_and_works_with_it(locked: Page) -> None:
    expect(locked.locator("#error")).to_contain_text("This server wants an API key")
    give(locked, "reader")
    expect(locked.locator("#backbone option")).not_to_have_count(1)
    expect(locked.locator("#error")).to_have_count(0)
    answer = classify(locked)
    assert answer["results"][0]["predictions"]


def test_what_a_key_does_not_allow_is_said_and_another_key_does_it(locked: Page) -> None:
    give(locked, "reader")
    refusal = locked.evaluate(
        "async () => { const api = await import('./playground/api.js');"
        " try { await api.putLabelSet({ name: 'pets', labels: ['cat'], key: 'reader' }); return null; }"
        " catch (error) { return { status: error.status, code: error.code, wants: api.wantsKey(error) }; } }"
    )
    assert refusal == {"status": 403, "code": "insufficient_scope", "wants": True}
    made = locked.evaluate(
        "async () => (await import('./playground/api.js'))"
        ".putLabelSet({ name: 'pets', labels: ['cat'], key: 'writer' }).then((answer) => answer.name)"
    )
    assert made == "pets"


def test_a_key_that_is_wrong_is_said(locked: Page) -> None:
    give(locked, "guess")
    expect(locked.locator("#error")).to_contain_text("This server wants an API key")
    expect(locked.get_by_label("API key")).to_be_visible()
