"""A browser, and the playground in it as people have it: on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.support.playground import ANSWER_LIMIT_MS, CHROMIUM, DESKTOP, PHONE, opened
from tests.support.playground_gallery import SAMPLE, delete, fill_sample, gallery_view


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


@pytest.fixture(scope="module")
def server(live_server: str) -> Iterator[str]:
    """The same server, with the sample gallery."""
    fill_sample(live_server)
    yield live_server
    delete(live_server, SAMPLE["name"])


@pytest.fixture
def view(page: Page, server: str) -> Page:
    """The gallery view."""
    return gallery_view(page, server)


@pytest.fixture
def own(server: str) -> Iterator[str]:
    """The name of a gallery that is free, and free again afterwards."""
    yield "mine"
    delete(server, "mine")
