"""What tests do with the playground in a browser."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, ViewportSize, expect

CHROMIUM = Path("/usr/bin/chromium")
ARTIFACTS = Path(__file__).parents[2] / "test-artifacts"
DESKTOP: ViewportSize = {"width": 1280, "height": 860}
PHONE: ViewportSize = {"width": 360, "height": 740}
ANSWER_LIMIT_MS = 30_000  # for a machine that is busy with other things; nothing is measured here

NEEDS_BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"needs Chromium at {CHROMIUM} (Debian: apt install chromium)"),
]


def opened(page: Page, url: str) -> Page:
    page.set_default_timeout(ANSWER_LIMIT_MS)
    page.goto(url)
    page.wait_for_selector("body[data-ready]")
    return page


def picture(colour: str = "orange") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (90, 70), colour).save(buffer, "PNG")
    return buffer.getvalue()


def classify(page: Page) -> dict[str, Any]:
    """Press Classify; the answer as the server sent it."""
    with page.expect_response("**/v1/classify") as response:
        page.get_by_role("button", name="Classify").click()
    body: dict[str, Any] = response.value.json()
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")
    return body


def sample(page: Page, file: str) -> Locator:
    return page.locator(f'#samples button[data-file="{file}"]')


def save_screenshot(page: Page, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"playground-{name}.png", full_page=True)
