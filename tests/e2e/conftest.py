"""A browser, and the playground in it as people have it: on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.playground import ANSWER_LIMIT_MS, CHROMIUM, DESKTOP, PHONE, opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=ANSWER_LIMIT_MS)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        with playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments) as browser:
            yield browser


@pytest.fixture
def page(browser: Browser, live_server: str) -> Iterator[Page]:
    with browser.new_context(viewport=DESKTOP, reduced_motion="reduce") as context:
        yield opened(context.new_page(), live_server)


@pytest.fixture
def phone(browser: Browser, live_server: str) -> Iterator[Page]:
    with browser.new_context(
        viewport=PHONE,
        reduced_motion="reduce",
        has_touch=True,
        is_mobile=True,
    ) as context:
        yield opened(context.new_page(), live_server)
