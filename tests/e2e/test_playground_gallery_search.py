"""The playground's gallery view in a real browser: what is searched by, and what is shown."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.support.playground import NEEDS_BROWSER, picture, save_screenshot
from tests.support.playground_gallery import (
    COUNT,
    SAMPLE,
    bring,
    delete,
    gallery_view,
    hits,
    say,
    search,
    sent,
    settled,
    shown_ids,
)

pytestmark = [*NEEDS_BROWSER, pytest.mark.timeout(420)]


def weight_share(row: Locator) -> float:
    share: float = row.locator(".bar").evaluate(
        "bar => bar.firstElementChild.getBoundingClientRect().width / bar.getBoundingClientRect().width"
    )
    return share


def test_hits_are_shown_with_pictures_scores_and_weights(view: Page) -> None:
    say(view, "a pair of shoes")
    (result,) = search(view)["results"]
    assert shown_ids(view) == [hit["id"] for hit in result["hits"]]
    assert len(result["hits"]) == 12
    for index, hit in enumerate(result["hits"]):
        expect(hits(view).nth(index)).to_contain_text(f"{hit['score']:.3f}".replace("-", "\N{MINUS SIGN}"))
        expect(hits(view).nth(index)).to_contain_text(hit["fields"]["label"])
    expect(view.locator("#gallery-hits img")).to_have_count(12)
    for image in view.locator("#gallery-hits img").all():
        expect(image).not_to_have_js_property("naturalWidth", 0)
    for name, weight in result["weights"].items():
        assert weight_share(view.locator(f'#gallery-weights li[data-backbone="{name}"]')) == pytest.approx(
            weight, abs=0.02
        )
    expect(view.locator("#gallery-cost")).to_contain_text("GFLOPs")
    expect(view.locator("#gallery-timings")).to_contain_text("in the server")
    expect(view.get_by_role("status").filter(has_text=f"12 closest of {COUNT} items")).to_have_count(1)
    save_screenshot(view, "gallery")


def test_a_pressed_result_is_searched_by_and_not_found_again(view: Page) -> None:
    say(view, "a banana")
    first = search(view)["results"][0]["hits"][0]["id"]
    with view.expect_request("**/search") as request:
        hits(view).first.click()
    settled(view)
    assert sent(request.value)["queries"] == [{"id": first}]
    expect(view.locator(".query-title")).to_have_text(f"Like {first}")
    assert first not in shown_ids(view)
    expect(view.locator("#gallery-answer")).to_be_focused()
    expect(view.locator("#gallery-preview")).to_have_js_property("naturalWidth", 80)


@pytest.mark.parametrize(("event", "carrier"), [("drop", "dataTransfer"), ("paste", "clipboardData")])
def test_a_picture_that_is_dropped_or_pasted_is_searched_by(view: Page, event: str, carrier: str) -> None:
    bring(view, event, carrier)
    expect(view.locator("#gallery-caption")).to_have_text("Your picture: brought.png")
    with view.expect_request("**/search") as request:
        view.keyboard.press("Control+Enter")
    settled(view)
    (query,) = sent(request.value)["queries"]
    assert base64.b64decode(query["image"].partition(",")[2]) == picture("teal")
    expect(view.locator(".query-title")).to_have_text("Like your picture brought.png")


def test_only_what_passes_the_filter_is_found(view: Page) -> None:
    say(view, "an animal")
    view.get_by_label("Only where").select_option("kind")
    view.get_by_role("button", name="Search", exact=True).click()
    expect(view.locator("#gallery-query-error")).to_have_text("Type the value to look for.")
    view.get_by_label("is", exact=True).fill("icon")
    (result,) = search(view)["results"]
    assert {hit["fields"]["kind"] for hit in result["hits"]} == {"icon"}
    expect(view.locator("#gallery-result .hero-sentence")).to_contain_text("that pass the filter")
    view.get_by_label("is", exact=True).fill("oil painting")
    assert search(view)["results"][0]["hits"] == []
    expect(view.locator("#gallery-result .hero-sentence")).to_contain_text("Nothing in this gallery is as the filter")


def test_values_of_the_sample_are_offered_for_the_filter(view: Page) -> None:
    view.get_by_label("Only where").select_option("kind")
    offered = view.locator("#gallery-values option").evaluate_all("all => all.map(each => each.value)")
    assert offered == ["clip art", "icon", "photograph"]


def test_a_filter_reads_its_value_as_the_field_is_typed(page: Page, server: str) -> None:
    fields = {"year": "integer", "price": "number", "sold": "boolean"}
    assert httpx2.put(f"{server}/v1/galleries/typed", json={"fields": fields}, timeout=60).is_success
    try:
        view = gallery_view(page, server, "typed")
        say(view, "a hat")
        for field, wrong, right, meant in (
            ("year", "2020.5", "2020", 2020),
            ("price", "cheap", "-1e3", -1000),
            ("sold", "yes", "true", True),
        ):
            value = view.get_by_label("is", exact=True)
            view.get_by_label("Only where").select_option(field)
            expect(value).to_have_value("")
            value.fill(wrong)
            view.get_by_role("button", name="Search", exact=True).click()
            expect(view.locator("#gallery-query-error")).to_contain_text("Type")
            expect(value).to_be_focused()
            value.fill(right)
            with view.expect_request("**/search") as request:
                search(view)
            assert sent(request.value)["filter"] == {field: meant}
    finally:
        delete(server, "typed")


def test_a_single_backbone_searches_alone(view: Page) -> None:
    say(view, "a hat")
    view.locator("#gallery-policy").select_option("single")
    names = [name for name in view.locator("#gallery-backbone option").all_inner_texts() if name != "All"]
    view.locator("#gallery-backbone").select_option(names[-1])
    view.locator("#gallery-top").fill("3")
    (result,) = search(view)["results"]
    assert (result["backbones"], len(result["hits"])) == (names[-1:], 3)
    expect(view.locator("#gallery-weights li[data-absent]")).to_have_count(len(names) - 1)
    expect(view.locator("#gallery-result .hero-sentence")).to_contain_text(f"Only {names[-1]} was asked.")


@pytest.mark.parametrize(
    ("exit_reason", "sentence"),
    [
        ("confident", "so nobody else was asked."),
        ("escalated", "so everybody was asked."),
        ("degraded", "did not answer"),
    ],
)
def test_how_a_search_ended_is_said_in_plain_words(view: Page, exit_reason: str, sentence: str) -> None:
    def ended(route: Route) -> None:
        response = route.fetch()
        body = response.json()
        result = body["results"][0]
        result |= {"exit_reason": exit_reason, "confidence": 0.62, "policy": "cascade"}
        if exit_reason == "degraded":
            failed = result["backbones"].pop()
            result["weights"].pop(failed, None)
            result |= {"degraded": True, "failed": [failed]}
        route.fulfill(response=response, json=body)

    view.route("**/search", ended)
    say(view, "a hat")
    search(view)
    said = view.locator("#gallery-result .hero-sentence")
    expect(said).to_contain_text(sentence)
    expect(said).to_contain_text("Confidence in the first: 62%.")
    expect(view.locator("#gallery-result .callout")).to_have_count(1 if exit_reason == "degraded" else 0)


def test_the_cascade_is_asked_for_and_says_who_is_first(view: Page, server: str) -> None:
    prefix = httpx2.get(f"{server}/v1/galleries/{SAMPLE['name']}", timeout=60).json()["prefix"]
    view.locator("#gallery-policy").select_option("cascade")
    for name in prefix:
        expect(view.locator("#gallery-policy-hint")).to_contain_text(name)
    say(view, "a hat")
    with view.expect_request("**/search") as request:
        view.get_by_role("button", name="Search", exact=True).click()
    settled(view)
    assert sent(request.value)["policy"] == "cascade"
    expect(view.locator("#gallery-hits, #gallery-error")).to_have_count(1)


def test_an_answer_to_an_earlier_query_is_marked(view: Page) -> None:
    say(view, "a hat")
    search(view)
    expect(view.locator("#gallery-stale")).to_be_hidden()
    view.locator("#gallery-top").fill("5")
    expect(view.locator("#gallery-stale")).to_be_visible()
    search(view)
    expect(view.locator("#gallery-stale")).to_be_hidden()


@pytest.mark.parametrize("by_picture", [False, True])
def test_the_curl_command_finds_what_the_page_found(view: Page, tmp_path: Path, by_picture: bool) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs the program curl")
    if by_picture:
        name = 'it\'s 100% "mine".png'
        (tmp_path / name).write_bytes(picture("teal"))
        view.locator("#gallery-file").set_input_files(tmp_path / name)
    else:
        say(view, 'child\'s "red" shirt')
    (result,) = search(view)["results"]
    command = view.locator("#gallery-curl").text_content() or ""
    done = subprocess.run(["bash", "-ec", command], cwd=tmp_path, capture_output=True, check=True, timeout=60)
    (again,) = json.loads(done.stdout)["results"]
    assert [hit["id"] for hit in again["hits"]] == [hit["id"] for hit in result["hits"]]
    view.locator("#gallery-answer summary", has_text="Raw JSON").click()
    assert json.loads(view.locator("#gallery-raw").inner_text())["results"] == [result]


def test_escape_cancels_and_nothing_is_shown(view: Page) -> None:
    view.route("**/search", lambda _: None)
    say(view, "a hat")
    view.get_by_role("button", name="Search", exact=True).click()
    expect(view.locator("#gallery-cancel")).to_be_visible()
    view.keyboard.press("Escape")
    settled(view)
    expect(view.locator("#gallery-result .empty")).to_be_visible()
