"""The playground in a real browser against a real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Route,
    expect,
)

from tests.support.playground import DESKTOP, NEEDS_BROWSER, classify, opened, picture, sample, save_screenshot

pytestmark = NEEDS_BROWSER


def tab_until_focused(page: Page, target: Locator, limit: int = 20) -> None:
    for _ in range(limit):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"{target} was not reached within {limit} presses of Tab")


def test_a_sample_is_picked_and_asked_about_by_keyboard_alone(page: Page) -> None:
    tab_until_focused(page, page.locator("#samples button").first)
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(sample(page, "bicycle.png")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_label("Labels to choose between")).to_have_value(
        "bicycle, motorcycle, tractor, bus, scissors, lamp"
    )
    tab_until_focused(page, page.get_by_role("button", name="Classify"))
    page.keyboard.press("Enter")
    expect(page.locator(".hero-label")).not_to_be_empty()
    expect(page.get_by_role("status")).to_contain_text("voted")


def test_the_arrow_keys_move_through_the_samples_by_rows_and_to_the_ends(page: Page) -> None:
    buttons = page.locator("#samples button")
    buttons.first.focus()
    for key, index in (
        ("ArrowDown", 8),
        ("ArrowLeft", 7),
        ("ArrowUp", 0),
        ("End", 15),
        ("ArrowRight", 15),
        ("Home", 0),
    ):
        page.keyboard.press(key)
        expect(buttons.nth(index)).to_be_focused()
    assert page.locator('#samples button[tabindex="0"]').count() == 1


def test_ctrl_enter_asks_from_within_the_labels(page: Page) -> None:
    page.get_by_label("Labels to choose between").fill("cat\ndog, cat ,\n\nhorse")
    expect(page.locator("#labels-count")).to_have_text("3 labels")
    with page.expect_response("**/v1/classify") as response:
        page.keyboard.press("Control+Enter")
    (result,) = response.value.json()["results"]
    assert {prediction["label"] for prediction in result["predictions"]} == {"cat", "dog", "horse"}
    expect(page.locator("#label-bars li")).to_have_count(3)


def test_bars_show_every_label_and_every_backbones_vote(page: Page) -> None:
    (result,) = classify(page)["results"]
    expect(page.locator(".hero-label")).to_have_text(result["predictions"][0]["label"])
    rows = page.locator("#label-bars li")
    expect(rows).to_have_count(len(result["predictions"]))
    for index, prediction in enumerate(result["predictions"]):
        expect(rows.nth(index)).to_contain_text(prediction["label"])
        expect(rows.nth(index)).to_contain_text(f"{prediction['cosine']:.3f}".replace("-", "\N{MINUS SIGN}"))
        assert filled_share(rows.nth(index)) == pytest.approx(prediction["probability"], abs=0.02)
    for name, vote in result["backbones"].items():
        row = page.locator(f'#votes li[data-backbone="{name}"]')
        for text in (name, vote["top_label"], f"weight {vote['weight']:.2f}", "GFLOPs"):
            expect(row).to_contain_text(text)
        assert filled_share(row) == pytest.approx(vote["probability"], abs=0.02)
    save_screenshot(page, "desktop")


def filled_share(row: Locator) -> float:
    share: float = row.locator(".bar").evaluate(
        "bar => bar.firstElementChild.getBoundingClientRect().width / bar.getBoundingClientRect().width"
    )
    return share


def test_cost_times_and_the_cache_are_told(page: Page) -> None:
    first = classify(page)["results"][0]
    expect(page.locator("#cost")).to_contain_text("GFLOPs")
    expect(page.locator("#timings")).to_contain_text("as the browser saw it")
    expect(page.locator("#timings")).to_contain_text("in the server")
    expect(page.locator("#timings .request-id code")).not_to_be_empty()
    again = classify(page)["results"][0]
    assert again["predictions"] == first["predictions"]
    assert all(vote["cached"] for vote in again["backbones"].values())
    expect(page.locator("#cost")).to_contain_text("every embedding came from the cache")
    expect(page.locator("#votes li").first).to_contain_text("from cache")


def test_a_chosen_file_is_classified(page: Page) -> None:
    page.get_by_label("Choose a picture").set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": picture()}
    )
    expect(page.locator("#caption")).to_contain_text("Your picture: mine.png")
    expect(page.locator('#samples button[aria-pressed="true"]')).to_have_count(0)
    assert classify(page)["results"][0]["predictions"]


@pytest.mark.parametrize(("event", "carrier"), [("drop", "dataTransfer"), ("paste", "clipboardData")])
def test_a_file_that_is_dropped_or_pasted_is_taken(page: Page, event: str, carrier: str) -> None:
    page.evaluate(
        """([type, carrier, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "brought.png", { type: "image/png" }));
            const kind = type === "drop" ? DragEvent : ClipboardEvent;
            const event = new kind(type, { bubbles: true, cancelable: true, [carrier]: data });
            document.getElementById("drop").dispatchEvent(event);
        }""",
        [event, carrier, list(picture("teal"))],
    )
    expect(page.locator("#caption")).to_contain_text("brought.png")
    assert classify(page)["results"][0]["predictions"]


def test_a_broken_file_shows_the_error_with_its_request_id(page: Page) -> None:
    page.get_by_label("Choose a picture").set_input_files(
        {"name": "broken.png", "mimeType": "image/png", "buffer": b"this is no picture"}
    )
    expect(page.locator("#caption")).to_contain_text("No preview")
    error = classify(page)["error"]
    for text in (error["message"], error["code"], error["param"], error["request_id"], "400"):
        expect(page.locator("#error")).to_contain_text(text)
    expect(page.get_by_role("status")).to_contain_text(error["message"])
    save_screenshot(page, "error")
    sample(page, "bus.png").click()
    assert classify(page)["results"]
    expect(page.locator("#error")).to_have_count(0)


def test_an_empty_field_is_named_before_anything_is_sent(page: Page) -> None:
    labels = page.get_by_label("Labels to choose between")
    labels.fill(" , ")
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#labels-error")).to_have_text("Type at least one label.")
    expect(labels).to_be_focused()
    expect(labels).to_have_attribute("aria-invalid", "true")


def test_own_labels_survive_the_picking_of_samples(page: Page) -> None:
    labels = page.get_by_label("Labels to choose between")
    sample(page, "tulips.png").click()
    expect(labels).to_have_value("tulip, rose, sunflower, flamingo, palm tree, broccoli")
    labels.fill("flower, tree")
    sample(page, "bus.png").click()
    expect(labels).to_have_value("flower, tree")
    page.get_by_role("button", name=re.compile("Use this sample")).click()
    expect(labels).to_have_value("bus, tram, car, tractor, train, ship")
    sample(page, "shoes.webp").click()
    expect(labels).to_have_value("shoes, hat, t-shirt, dress, pants, skirt")


def test_an_answer_to_an_earlier_question_is_marked(page: Page) -> None:
    classify(page)
    expect(page.locator("#stale")).to_be_hidden()
    page.get_by_label("Labels to choose between").fill("something, else")
    expect(page.locator("#stale")).to_be_visible()
    classify(page)
    expect(page.locator("#stale")).to_be_hidden()


def test_a_single_backbone_is_asked_alone(page: Page, live_server: str) -> None:
    page.get_by_label("Policy").select_option("single")
    chooser = page.get_by_label("Backbone", exact=True)
    members = page.request.get(f"{live_server}/v1/models/committee").json()["backbones"]
    chooser.select_option(members[-1])
    (result,) = classify(page)["results"]
    assert list(result["backbones"]) == members[-1:]
    expect(page.locator("#votes li")).to_have_count(len(members))
    expect(page.locator("#votes li[data-absent]")).to_have_count(len(members) - 1)
    expect(page.locator(".hero-sentence").first).to_contain_text(f"Only {members[-1]} voted.")


def test_a_variant_beside_the_committee_answers_where_it_is_chosen(page: Page, live_server: str) -> None:
    models = page.request.get(f"{live_server}/v1/models").json()["data"]
    variants = [model["id"] for model in models if model.get("votes") == "when_asked"]
    members, variant = models[-1]["backbones"], variants[-1]
    for each in variants:
        expect(page.locator(".members li", has_text=each)).to_contain_text("only when asked")
    (result,) = classify(page)["results"]
    assert set(result["backbones"]) == set(members)
    expect(page.locator(".hero-sentence").first).to_contain_text(f"All {len(members)} backbones voted")
    page.get_by_label("Policy").select_option("single")
    page.get_by_label("Backbone", exact=True).select_option(variant)
    (result,) = classify(page)["results"]
    assert list(result["backbones"]) == [variant]
    expect(page.locator("#votes li", has_text=variant)).to_be_visible()


def test_a_registered_label_set_takes_the_place_of_typed_labels(page: Page, live_server: str) -> None:
    address = f"{live_server}/v1/label-sets/playground-test"
    assert page.request.put(address, data={"labels": ["bus", "boat", "bicycle"]}).ok
    try:
        opened(page, live_server)
        page.get_by_label("Registered set").check()
        page.get_by_label("Registered label set").select_option("playground-test")
        expect(page.locator("#label-set-preview")).to_have_text("3 labels: bus, boat, bicycle")
        sample(page, "bus.png").click()
        answer = classify(page)
        assert answer["label_set"] == "playground-test"
        assert {each["label"] for each in answer["results"][0]["predictions"]} == {"bus", "boat", "bicycle"}
    finally:
        page.request.delete(address)


def test_a_new_question_cancels_the_one_in_flight(page: Page) -> None:
    held: list[Route] = []
    failed: list[str | None] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    def note_failure(request: Request) -> None:
        failed.append(request.failure)

    page.route("**/v1/classify", hold_the_first)
    page.on("requestfailed", note_failure)
    with page.expect_request("**/v1/classify"):
        page.get_by_role("button", name="Classify").click()
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "true")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".hero-label")).not_to_be_empty()
    assert failed == ["net::ERR_ABORTED"]


def test_escape_cancels_and_nothing_is_shown(page: Page) -> None:
    page.route("**/v1/classify", lambda _: None)
    page.get_by_role("button", name="Classify").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#answer")).to_have_attribute("aria-busy", "false")
    expect(page.locator(".empty")).to_be_visible()


def test_a_server_that_wants_a_key_is_asked_with_one(page: Page) -> None:
    refusal = {"message": "This server wants an API key.", "type": "t", "param": None, "code": "unauthorized"}
    page.route("**/v1/classify", lambda route: route.fulfill(status=401, json={"error": refusal}))
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#error")).to_contain_text("This server wants an API key")
    page.get_by_label("API key").fill("secret")
    page.unroute("**/v1/classify")
    with page.expect_request("**/v1/classify") as request:
        page.keyboard.press("Enter")
    assert request.value.headers["authorization"] == "Bearer secret"
    assert "secret" not in (page.locator("#curl").text_content() or "")


def test_a_server_that_is_gone_is_named(page: Page) -> None:
    page.route("**/v1/classify", lambda route: route.abort())
    page.get_by_role("button", name="Classify").click()
    expect(page.locator("#error")).to_contain_text("The server cannot be reached.")


def test_degradation_and_an_early_exit_are_said_in_plain_words(page: Page) -> None:
    page.route("**/v1/classify", answer_of_a_part_of_the_committee)
    page.get_by_role("button", name="Classify").click()
    expect(page.locator(".callout")).to_contain_text("Degraded.")
    expect(page.locator(".hero-sentence").first).to_contain_text("sure enough after stage 1")
    expect(page.locator(".hero")).to_contain_text("with 90% confidence")


def answer_of_a_part_of_the_committee(route: Route) -> None:
    """The server's own answer as a cascade would have given it, with its last vote missing."""
    response = route.fetch()
    body = response.json()
    result = body["results"][0]
    result["backbones"].popitem()
    result |= {"degraded": True, "exit_reason": "confident", "promise": {"epsilon": 0.02, "delta": 0.1}}
    route.fulfill(response=response, json=body)


def test_the_curl_command_gives_the_answer_of_the_page(page: Page, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs the program curl")
    page.get_by_label("Labels to choose between").fill('ladybug, child\'s toy; red, crab "king"')
    sample(page, "ladybird.png").click()
    (result,) = classify(page)["results"]
    command = page.locator("#curl").text_content() or ""
    done = subprocess.run(["bash", "-ec", command], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    (again,) = json.loads(done.stdout)["results"]
    assert again["predictions"] == result["predictions"]
    page.locator("#raw-details summary").click()
    assert json.loads(page.locator("#raw").inner_text())["results"] == [result]


def test_a_phone_scrolls_in_one_direction_only(phone: Page) -> None:
    def sideways() -> int:
        overflow: int = phone.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        return overflow

    assert sideways() == 0
    phone.get_by_label("Labels to choose between").fill(f"lemon, {'pneumono' * 8}, a bicycle that leans on a wall")
    classify(phone)
    expect(phone.locator("#votes")).to_be_visible()
    for summary in phone.locator("summary").all():
        summary.click()
    assert sideways() == 0
    save_screenshot(phone, "phone")


def test_a_phone_brings_the_answer_into_view(phone: Page) -> None:
    classify(phone)
    expect(phone.locator(".hero-label")).to_be_in_viewport()


def test_dark_mode_is_followed(browser: Browser, live_server: str) -> None:
    with browser.new_context(viewport=DESKTOP, color_scheme="dark") as context:
        page = opened(context.new_page(), live_server)
        classify(page)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == "rgb(15, 21, 18)"
        page.evaluate("Promise.all(document.getAnimations().map(animation => animation.finished))")
        save_screenshot(page, "dark")


def test_reduced_motion_stops_every_animation(page: Page) -> None:
    classify(page)
    assert page.evaluate("document.getAnimations().length") == 0


def test_the_page_is_quiet_and_asks_nobody_but_its_own_server(browser: Browser, live_server: str) -> None:
    complaints: list[str] = []
    asked: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        complaints.append(f"{message.type}: {message.text}")

    with browser.new_context(viewport=DESKTOP) as context:
        page = context.new_page()
        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', event => console.error('CSP', event.violatedDirective))"
        )
        opened(page, live_server)
        page.get_by_label("Choose a picture").set_input_files(
            {"name": "mine.png", "mimeType": "image/png", "buffer": picture()}
        )
        classify(page)
        sample(page, "sailboat.png").click()
        classify(page)
    assert complaints == []
    assert [url for url in asked if not url.startswith((live_server, "blob:"))] == []


def test_the_page_is_served_with_a_strict_policy(page: Page, live_server: str) -> None:
    for path in ("/", "/playground/app.js", "/playground/style.css", "/playground/samples/bus.png"):
        response = page.request.get(live_server + path)
        assert response.ok
        assert response.headers["content-security-policy"].startswith("default-src 'self'")
        assert "unsafe" not in response.headers["content-security-policy"]


def test_the_page_says_what_the_zoo_is_and_where_samples_come_from(page: Page) -> None:
    expect(page.get_by_text("The bundled zoo is a 64-pixel demonstration")).to_be_visible()
    for button in page.locator("#samples button").all():
        button.click()
        expect(page.locator("#caption .minor")).to_contain_text(
            button.evaluate(
                """async button => {
                    const { sources, samples } = await (await fetch("playground/samples/samples.json")).json();
                    return sources[samples.find(({ file }) => file === button.dataset.file).source].licence;
                }"""
            )
        )
    page.get_by_text("Where the samples come from").click()
    expect(page.locator("#sources-list dt")).to_have_count(4)
    assert page.request.get(page.url + "playground/samples/ATTRIBUTION.md").ok
