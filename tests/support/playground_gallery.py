"""What tests do with the playground's gallery view."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import httpx2
from playwright.sync_api import FilePayload, Locator, Page, Request, expect

from tests.conftest import ROOT
from tests.support.playground import opened, picture

FOLDER = ROOT / "service/playground/gallery"
SAMPLE: dict[str, Any] = json.loads((FOLDER / "gallery.json").read_text(encoding="utf-8"))
COUNT = len(SAMPLE["items"])
FILL_LIMIT_MS = 240_000
BATCH = 32


def fill_sample(url: str) -> None:
    """The sample gallery as the page would make it, by the API."""
    gallery = f"{url}/v1/galleries/{SAMPLE['name']}"
    put = partial(httpx2.put, gallery, json={"fields": SAMPLE["fields"]}, timeout=60)
    # The first call loads pymilvus: on a busy machine more than one caller's time.
    next(answer for answer in (put() for _ in range(12)) if answer.status_code != 504).raise_for_status()
    for start in range(0, len(SAMPLE["items"]), BATCH):
        items = SAMPLE["items"][start : start + BATCH]
        files = {f"images[{item['id']}]": (FOLDER / item["id"]).read_bytes() for item in items}
        fields = {item["id"]: item["fields"] for item in items}
        request = {"request": json.dumps({"fields": fields, "deadline_ms": 60_000})}
        httpx2.post(f"{gallery}/items", files=files, data=request, timeout=90).raise_for_status()


def gallery_view(page: Page, url: str, name: str | None = None) -> Page:
    """The view, opened by its address."""
    opened(page, f"{url}/#gallery{'' if name is None else f'/{name}'}")
    page.wait_for_selector("#view-gallery[data-ready]")
    return page


def settled(page: Page) -> None:
    expect(page.locator("#gallery-answer")).to_have_attribute("aria-busy", "false")


def search(page: Page) -> dict[str, Any]:
    """Press Search; the answer as the server sent it."""
    with page.expect_response("**/search") as response:
        page.get_by_role("button", name="Search", exact=True).click()
    body: dict[str, Any] = response.value.json()
    settled(page)
    return body


def filled(page: Page) -> str:
    """What the page says once everything is put in."""
    expect(page.locator("#gallery-filling")).to_be_hidden(timeout=FILL_LIMIT_MS)
    return page.locator("#gallery-fill-status").inner_text()


def add_own(view: Page, name: str, files: dict[str, bytes]) -> None:
    view.locator("#gallery-name").select_option(label="New gallery…")
    view.get_by_label("Name of the new gallery").fill(name)
    payloads: list[FilePayload] = [
        {"name": file, "mimeType": "image/png", "buffer": content} for file, content in files.items()
    ]
    view.locator("#gallery-files").set_input_files(payloads)


def bring(view: Page, event: str, carrier: str) -> None:
    view.evaluate(
        """([type, carrier, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "brought.png", { type: "image/png" }));
            const kind = type === "drop" ? DragEvent : ClipboardEvent;
            const event = new kind(type, { bubbles: true, cancelable: true, [carrier]: data });
            document.getElementById("gallery-form").dispatchEvent(event);
        }""",
        [event, carrier, list(picture("teal"))],
    )


def delete(url: str, name: str) -> None:
    assert httpx2.delete(f"{url}/v1/galleries/{name}", timeout=60).status_code in (204, 404)


def say(view: Page, words: str) -> None:
    view.get_by_label("Words to search by").fill(words)


def sent(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.post_data or "")
    return body


def hits(view: Page) -> Locator:
    return view.locator("#gallery-hits button")


def shown_ids(view: Page) -> list[str]:
    found: list[str] = hits(view).evaluate_all("buttons => buttons.map(button => button.dataset.id)")
    return found


def refusal(status: int, code: str, message: str) -> dict[str, Any]:
    error = {"message": message, "type": "t", "param": None, "code": code, "request_id": "req_1"}
    return {"status": status, "json": {"error": error}}
