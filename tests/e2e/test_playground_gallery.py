"""The playground's gallery view in a real browser: how it is reached, and how a gallery is filled."""

from __future__ import annotations

import httpx2
import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.playground import NEEDS_BROWSER, classify, opened, picture, save_screenshot
from tests.support.playground_gallery import (
    COUNT,
    SAMPLE,
    add_own,
    bring,
    delete,
    filled,
    gallery_view,
    refusal,
    say,
    search,
    settled,
)

pytestmark = [*NEEDS_BROWSER, pytest.mark.timeout(420)]


def test_the_tabs_are_moved_through_by_arrow_keys_and_keep_what_is_in_them(page: Page, server: str) -> None:
    opened(page, server)
    page.get_by_label("Labels to choose between").fill("cat, dog")
    page.get_by_role("tab", name="Classify").focus()
    for key, name in (("ArrowRight", "Gallery"), ("ArrowRight", "Classify"), ("End", "Gallery"), ("Home", "Classify")):
        page.keyboard.press(key)
        tab = page.get_by_role("tab", name=name)
        expect(tab).to_be_focused()
        expect(tab).to_have_attribute("aria-selected", "true")
        expect(page.get_by_role("tab", selected=True)).to_have_count(1)
        expect(page.get_by_role("tabpanel")).to_have_attribute("aria-labelledby", f"tab-{name.lower()}")
    expect(page.get_by_label("Labels to choose between")).to_have_value("cat, dog")
    assert classify(page)["results"]
    page.get_by_role("tab", name="Gallery").click()
    assert page.url.endswith("/#gallery")
    assert page.locator("#skip").get_attribute("href") == "#gallery-answer"


def test_galleries_are_not_asked_for_before_the_tab_is_opened(page: Page, server: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    opened(page, server)
    classify(page)
    assert not [url for url in asked if "galler" in url and not url.endswith((".js", ".css"))]
    page.get_by_role("tab", name="Gallery").click()
    expect(page.locator("#gallery-count")).to_have_text(f"{COUNT} items")


def test_an_address_opens_the_view_and_chooses_a_gallery(page: Page, server: str) -> None:
    assert httpx2.put(f"{server}/v1/galleries/a-first-one", json={}, timeout=60).is_success
    try:
        gallery_view(page, server, SAMPLE["name"])
        expect(page.locator("#gallery-name")).to_have_value(SAMPLE["name"])
        page.evaluate("location.hash = 'gallery/a-first-one'")
        expect(page.locator("#gallery-name")).to_have_value("a-first-one")
        expect(page.locator("#gallery-result")).to_contain_text("This gallery is empty")
        page.evaluate("location.hash = ''")
        expect(page.get_by_role("button", name="Classify")).to_be_visible()
    finally:
        delete(server, "a-first-one")


def test_keys_and_dropped_pictures_are_taken_by_the_view_that_is_shown(view: Page) -> None:
    say(view, "a hat")
    with view.expect_response("**/search"):
        view.keyboard.press("Control+Enter")
    settled(view)
    bring(view, "drop", "dataTransfer")
    expect(view.locator("#caption")).not_to_contain_text("brought.png")
    asked: list[str] = []
    view.on("request", lambda request: asked.append(request.url))
    view.get_by_role("tab", name="Classify").click()
    with view.expect_response("**/v1/classify"):
        view.keyboard.press("Control+Enter")
    assert not [url for url in asked if url.endswith("/search")]


def test_the_sample_gallery_is_loaded_once_and_stopped_where_the_user_says(view: Page, server: str) -> None:
    delete(server, SAMPLE["name"])
    gallery_view(view, server)
    view.reload()
    view.wait_for_selector("#view-gallery[data-ready]")
    expect(view.locator("#gallery-result")).to_contain_text("No gallery yet")
    save_screenshot(view, "gallery-none")
    calls: list[int] = []
    view.route("**/items", lambda route: hold_the_third(route, calls))
    view.get_by_role("button", name="Load the sample gallery").click()
    expect(view.locator("#gallery-fill-status")).to_have_text(f"32 of {COUNT} pictures.")
    view.get_by_role("button", name="Stop").click()
    assert filled(view).startswith("Stopped.")
    expect(view.locator("#gallery-count")).to_have_text("32 items")
    view.unroute("**/items")
    view.get_by_role("button", name="Load the sample gallery").click()
    assert filled(view) == f"{COUNT - 32} pictures added. 32 pictures were already there."
    expect(view.locator("#gallery-count")).to_have_text(f"{COUNT} items")
    asked: list[str] = []
    view.on("request", lambda request: asked.append(request.url))
    view.get_by_role("button", name="Load the sample gallery").click()
    assert filled(view) == f"{COUNT} pictures were already there."
    assert not [url for url in asked if url.endswith("/items")]


def hold_the_third(route: Route, calls: list[int]) -> None:
    calls.append(1)
    if len(calls) < 3:
        route.continue_()


def test_what_the_page_put_in_has_the_values_that_the_list_gives(server: str) -> None:
    item = SAMPLE["items"][COUNT // 2]
    found = httpx2.post(
        f"{server}/v1/galleries/{SAMPLE['name']}/items/lookup", json={"ids": [item["id"]]}, timeout=60
    ).json()
    assert [(each["digest"], each["fields"]) for each in found["data"]] == [(item["sha256"], item["fields"])]


def test_a_server_that_is_busy_is_asked_again(view: Page, own: str) -> None:
    refused: list[Route] = []

    def refuse_once(route: Route) -> None:
        if refused:
            route.continue_()
        else:
            refused.append(route)
            route.fulfill(**refusal(429, "overloaded", "Too much to do."), headers={"Retry-After": "1"})

    view.route("**/items", refuse_once)
    add_own(view, own, {"one.png": picture("red")})
    assert filled(view) == "1 picture added."
    assert len(refused) == 1


def test_own_pictures_make_a_gallery_and_a_broken_one_is_named(view: Page, server: str, own: str) -> None:
    files = {'a "red" [1].png': picture("red"), "blue 50%22.png": picture("blue"), "broken.png": b"no picture"}
    add_own(view, own, files)
    assert filled(view) == "2 pictures added. 1 picture could not be added."
    expect(view.locator("#gallery-fill-error")).to_contain_text("broken.png: ")
    expect(view.locator("#gallery-name")).to_have_value(own)
    say(view, "something red")
    (result,) = search(view)["results"]
    assert {hit["id"] for hit in result["hits"]} == set(files) - {"broken.png"}
    pictures = view.locator("#gallery-hits img")
    assert all(address.startswith("blob:") for address in pictures.evaluate_all("all => all.map(each => each.src)"))
    save_screenshot(view, "gallery-own")
    gallery_view(view, server, own)
    view.reload()
    view.wait_for_selector("#view-gallery[data-ready]")
    say(view, "something red")
    search(view)
    expect(view.locator("#gallery-hits img")).to_have_count(0)
    expect(view.locator("#gallery-hits .hit-tile b")).to_have_text([hit["id"] for hit in result["hits"]])


def test_a_name_that_no_gallery_can_have_is_refused_before_anything_is_sent(view: Page) -> None:
    add_own(view, "not a name", {"one.png": picture()})
    expect(view.locator("#gallery-fill-error")).to_contain_text("Name the gallery with letters")
    expect(view.get_by_label("Name of the new gallery")).to_be_focused()
