"""The playground's gallery view in a real browser: what goes wrong, other screens, and what it never does."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Route, expect

from tests.support.playground import DESKTOP, NEEDS_BROWSER, classify, picture, save_screenshot
from tests.support.playground_gallery import (
    COUNT,
    SAMPLE,
    add_own,
    filled,
    gallery_view,
    hits,
    refusal,
    say,
    search,
    settled,
)

pytestmark = [*NEEDS_BROWSER, pytest.mark.timeout(420)]


def test_what_is_missing_is_named_before_anything_is_sent(view: Page) -> None:
    press = view.get_by_role("button", name="Search", exact=True)
    error = view.locator("#gallery-query-error")
    press.click()
    expect(error).to_have_text("Type what to search for.")
    expect(view.get_by_label("Words to search by")).to_be_focused()
    view.locator("#gallery-by-picture").check(force=True)
    press.click()
    expect(error).to_have_text("Choose a picture first.")
    view.locator("#gallery-by-words").check(force=True)
    say(view, "a hat")
    view.locator("#gallery-top").fill("0")
    press.click()
    expect(error).to_have_text("Ask for 1 to 100 results.")
    view.locator("#gallery-name").select_option(label="New gallery…")
    press.click()
    expect(error).to_contain_text("There is no gallery to search in yet")


def test_a_gallery_of_another_zoo_is_said_to_be_stale(view: Page) -> None:
    reason = "hybrid-m has other weights."

    def stale(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, json={**response.json(), "stale": reason})

    view.route(f"**/v1/galleries/{SAMPLE['name']}", stale)
    view.route("**/search", lambda route: route.fulfill(**refusal(409, "gallery_stale", reason)))
    view.reload()
    view.wait_for_selector("#view-gallery[data-ready]")
    expect(view.locator("#gallery-stale-note")).to_contain_text(reason)
    say(view, "a hat")
    view.get_by_role("button", name="Search", exact=True).click()
    expect(view.locator("#gallery-error")).to_contain_text("This gallery was made with other backbones")
    for text in (reason, "gallery_stale", "req_1", "409"):
        expect(view.locator("#gallery-error")).to_contain_text(text)
    save_screenshot(view, "gallery-stale")


@pytest.mark.parametrize(
    ("status", "code", "title"),
    [(503, "unavailable", "That is not available now"), (404, "not_found", "There is no such thing here")],
)
def test_a_server_without_galleries_says_so(page: Page, server: str, status: int, code: str, title: str) -> None:
    page.route("**/v1/galleries*", lambda route: route.fulfill(**refusal(status, code, "This server keeps none.")))
    gallery_view(page, server)
    expect(page.locator("#gallery-error")).to_contain_text(title)
    expect(page.locator("#gallery-error")).to_contain_text("This server keeps none.")
    expect(page.locator("#gallery-answer")).to_have_attribute("aria-busy", "false")


def test_another_gallery_of_the_samples_name_is_left_alone(view: Page) -> None:
    def refuse(route: Route) -> None:
        if route.request.method == "PUT":
            route.fulfill(**refusal(409, "gallery_differs", "There is a gallery with other fields."))
        else:
            route.continue_()

    view.route(f"**/v1/galleries/{SAMPLE['name']}", refuse)
    view.get_by_role("button", name="Load the sample gallery").click()
    expect(view.locator("#gallery-fill-error")).to_contain_text("There is a gallery with other fields.")
    assert filled(view) == ""


def test_a_server_that_wants_a_key_is_asked_with_one(page: Page, server: str) -> None:
    def guard(route: Route) -> None:
        if route.request.headers.get("authorization") == "Bearer secret":
            route.continue_()
        else:
            route.fulfill(**refusal(401, "unauthorized", "This server wants an API key."))

    page.route("**/v1/**", guard)
    gallery_view(page, server)
    expect(page.locator("#gallery-error")).to_contain_text("This server wants an API key")
    page.locator("#gallery-key").fill("secret")
    page.keyboard.press("Tab")
    expect(page.locator("#gallery-count")).to_have_text(f"{COUNT} items")
    say(page, "a hat")
    search(page)
    expect(hits(page)).to_have_count(12)
    assert "secret" not in (page.locator("#gallery-curl").text_content() or "")


def test_a_phone_scrolls_in_one_direction_only(phone: Page, server: str) -> None:
    def sideways() -> int:
        overflow: int = phone.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return overflow

    gallery_view(phone, server)
    assert sideways() <= 0
    say(phone, "a banana")
    search(phone)
    expect(hits(phone).first).to_be_in_viewport()
    save_screenshot(phone, "gallery-phone")
    say(phone, f"a {'pneumono' * 8} that leans on a wall")
    search(phone)
    for summary in phone.locator("#gallery-answer summary").all():
        summary.click()
    assert sideways() <= 0


def test_dark_mode_is_followed(browser: Browser, server: str) -> None:
    with browser.new_context(viewport=DESKTOP, color_scheme="dark", reduced_motion="reduce") as context:
        page = gallery_view(context.new_page(), server)
        say(page, "a green apple")
        search(page)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 21, 18)"
        save_screenshot(page, "gallery-dark")


def test_no_id_is_there_twice_when_both_views_were_used(view: Page) -> None:
    say(view, "a hat")
    search(view)
    view.get_by_role("tab", name="Classify").click()
    classify(view)
    twice = view.evaluate(
        "[...document.querySelectorAll('[id]')].map(({ id }) => id).filter((id, at, all) => all.indexOf(id) !== at)"
    )
    assert twice == []


def test_the_view_is_quiet_and_asks_nobody_but_its_own_server(browser: Browser, server: str, own: str) -> None:
    complaints: list[str] = []
    asked: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        complaints.append(f"{message.type}: {message.text}")

    def note(request: Request) -> None:
        asked.append(request.url)

    with browser.new_context(viewport=DESKTOP) as context:
        page = context.new_page()
        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", note)
        page.add_init_script(
            "addEventListener('securitypolicyviolation', event => console.error('CSP', event.violatedDirective))"
        )
        gallery_view(page, server)
        page.get_by_role("button", name="Load the sample gallery").click()
        filled(page)
        page.locator("#gallery-file").set_input_files(
            {"name": "mine.png", "mimeType": "image/png", "buffer": picture()}
        )
        search(page)
        hits(page).first.click()
        settled(page)
        add_own(page, own, {"one.png": picture("red")})
        filled(page)
        page.locator("#gallery-by-words").check(force=True)
        say(page, "red")
        search(page)
    assert complaints == []
    assert [url for url in asked if not url.startswith((server, "blob:"))] == []


def test_the_sample_and_where_it_comes_from_are_served(page: Page, server: str) -> None:
    for name in ("gallery.json", "ATTRIBUTION.md", SAMPLE["items"][0]["id"]):
        response = page.request.get(f"{server}/playground/gallery/{name}")
        assert response.ok
        assert response.headers["content-security-policy"].startswith("default-src 'self'")
    assert {item["fields"]["licence"] for item in SAMPLE["items"]} <= {"MIT", "CC0-1.0", "Apache-2.0", "public domain"}
