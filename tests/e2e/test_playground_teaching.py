"""The playground's form that teaches, in a real browser against a real server."""

from __future__ import annotations

import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.conftest import ROOT
from tests.support.playground import NEEDS_BROWSER, classify, opened, picture, save_screenshot

pytestmark = NEEDS_BROWSER

CLOTHES = ROOT / "docs/examples/fashion"
LESSON_LIMIT_MS = 240_000
MakeFolder = Callable[..., Path]


@pytest.fixture
def form(page: Page) -> Page:
    return with_form(page)


@pytest.fixture
def label_set(page: Page, live_server: str) -> Iterator[str]:
    """A name that is free, and free again afterwards."""
    name = "lesson"
    yield name
    page.request.delete(f"{live_server}/v1/label-sets/{name}")


@pytest.fixture
def folder(tmp_path: Path) -> MakeFolder:
    """`folder(cat=2, dog=1)`: pictures in sub-folders."""

    def make(**classes: int) -> Path:
        for place, (label, count) in enumerate(classes.items()):
            (tmp_path / "pets" / label).mkdir(parents=True)
            for number in range(count):
                (tmp_path / "pets" / label / f"{number}.png").write_bytes(picture(f"#{place:02x}{number:02x}ff"))
        return tmp_path / "pets"

    return make


def with_form(page: Page) -> Page:
    page.locator("#teach > summary").click()
    return page


def teach(page: Page, name: str, folder: Path | None = None) -> None:
    page.locator("#teach-name").fill(name)
    if folder is not None:
        page.locator("#teach-folder").set_input_files(folder)
        expect(page.locator("#teach-count")).not_to_be_empty()
    page.get_by_role("button", name="Teach", exact=True).click()


def outcome(page: Page) -> Locator:
    expect(page.locator(".verdict-box, #teach-failure")).to_be_visible(timeout=LESSON_LIMIT_MS)
    return page.locator(".verdict-box")


def policies(page: Page) -> list[str]:
    return page.locator("#policy option").all_inner_texts()


def sorted_as_one_backbone_would(page: Page, url: str, out: Path) -> Path:
    """Pictures in folders named by what the cheapest backbone sees, so that listening to it is surely better."""
    images = sorted((CLOTHES / "calibrate").iterdir())[:64]
    request = {
        "images": [{"data": b64encode(path.read_bytes()).decode()} for path in images],
        "labels": sorted(path.name for path in (CLOTHES / "fit").iterdir()),
        "policy": "single",
        "backbones": [page.request.get(f"{url}/v1/models").json()["data"][0]["id"]],
    }
    answer = page.request.post(f"{url}/v1/classify", data=request).json()
    for path, result in zip(images, answer["results"], strict=True):
        inside = out / result["predictions"][0]["label"]
        inside.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, inside)
    return out


@pytest.mark.timeout(600)
def test_a_taught_controller_weighs_every_vote(form: Page, live_server: str, label_set: str, tmp_path: Path) -> None:
    teach(form, label_set, sorted_as_one_backbone_would(form, live_server, tmp_path / "sorted"))
    expect(outcome(form)).to_contain_text(f"Accepted{label_set}/1")
    result = form.request.get(f"{live_server}/v1/jobs?label_set={label_set}").json()["data"][0]["result"]
    gain = result["gain_over_unfitted"]["generic" if "generic" in result["unfitted"] else "mean"]
    expect(outcome(form)).to_contain_text(f"+{100 * gain['accuracy']:.1f} ± {100 * gain['standard_error']:.1f} points")
    for name in (*result["unfitted"], *result["backbones"], "fit"):
        expect(form.locator(f'#held-out [data-rival="{name}"]')).to_have_count(1)
    expect(form.get_by_label("Registered set")).to_be_checked()
    expect(form.get_by_label("Registered label set")).to_have_value(label_set)
    expect(form.locator("#policy-hint")).to_contain_text("usually: controller.")
    (answered,) = classify(form)["results"]
    assert (answered["policy"], answered["controller"]) == ("nlc", f"{label_set}/1")
    expect(form.locator("#votes h3")).to_contain_text(f"weights for this picture by {label_set}/1")
    most = max(vote["weight"] for vote in answered["backbones"].values())
    for name, vote in answered["backbones"].items():
        row = form.locator(f'#votes li[data-backbone="{name}"]')
        expect(row).to_contain_text(f"weight {vote['weight']:.2f}")
        assert weight_share(row) == pytest.approx(vote["weight"] / most, abs=0.02)
    save_screenshot(form, "taught")


def weight_share(row: Locator) -> float:
    share: float = row.locator(".weight-bar").evaluate(
        "bar => bar.firstElementChild.getBoundingClientRect().width / bar.getBoundingClientRect().width"
    )
    return share


def test_a_refused_lesson_says_why_and_changes_nothing(form: Page, live_server: str, label_set: str) -> None:
    for label, colour in (("cat", "gray"), ("dog", "brown")):
        form.locator("#teach-label").fill(label)
        form.locator("#teach-files").set_input_files(
            {"name": f"{label}.png", "mimeType": "image/png", "buffer": picture(colour)}
        )
        expect(form.locator(f'#teach-classes [data-label="{label}"]')).to_contain_text("1")
    teach(form, label_set)
    expect(outcome(form)).to_contain_text("Refused")
    job = form.request.get(f"{live_server}/v1/jobs?label_set={label_set}").json()["data"][0]
    for sentence in (*job["result"]["reasons"], "Nothing was activated", "2 different pictures of 2 of 2 labels"):
        expect(outcome(form)).to_contain_text(sentence)
    assert form.request.get(f"{live_server}/v1/label-sets/{label_set}").json()["controller"] is None
    save_screenshot(form, "refused")


def test_only_pictures_in_folders_of_classes_are_taken(form: Page, folder: MakeFolder) -> None:
    pets = folder(dog=2, cat=3)
    (pets / "loose.png").write_bytes(picture())
    (pets / "cat" / "notes.txt").write_text("mine")
    (pets / "cat" / "deep").mkdir()
    (pets / "cat" / "deep" / "far.png").write_bytes(picture())
    (pets / "cat" / ".hidden.png").write_bytes(picture())
    form.locator("#teach-folder").set_input_files(pets)
    expect(form.locator("#teach-count")).to_have_text("5 pictures of 2 labels. 3 other files left out.")
    assert form.locator("#teach-classes .class-name").all_inner_texts() == ["cat", "dog"]
    form.locator("#teach-folder").set_input_files(pets)  # the same ones again
    expect(form.locator("#teach-count")).to_contain_text("5 pictures of 2 labels.")
    form.get_by_role("button", name="Remove cat").click()
    expect(form.locator("#teach-count")).to_have_text("2 pictures of 1 label.")


def test_a_folder_without_sub_folders_is_one_class(form: Page, folder: MakeFolder) -> None:
    form.locator("#teach-folder").set_input_files(folder(cat=3, dog=1) / "cat")
    assert form.locator("#teach-classes .class-name").all_inner_texts() == ["cat"]
    expect(form.locator("#teach-count")).to_have_text("3 pictures of 1 label.")


def test_what_cannot_be_taught_is_said_before_anything_is_sent(
    form: Page, live_server: str, label_set: str, folder: MakeFolder
) -> None:
    sent: list[str] = []
    form.on("request", lambda request: sent.append(request.method))
    pets = folder(cat=2, dog=2)
    for name, chosen, sentence in (
        ("my pets", None, "Name it with letters"),
        (label_set, None, "pictures of two labels"),
        (label_set, pets / "cat", "pictures of two labels"),
    ):
        teach(form, name, chosen)
        expect(form.locator("#teach-error")).to_contain_text(sentence)
    form.request.put(f"{live_server}/v1/label-sets/{label_set}", data={"labels": ["cat", "fox"]})
    teach(form, label_set, pets)
    expect(form.locator("#teach-error")).to_contain_text(f"“{label_set}” exists and has no label “dog”.")
    expect(form.locator("#teach-name")).to_be_focused()
    expect(form.locator("#teach-name")).to_have_attribute("aria-invalid", "true")
    assert set(sent) <= {"GET"}


def test_a_server_that_takes_fewer_pictures_is_not_sent_more(page: Page, live_server: str, folder: MakeFolder) -> None:
    def tight(route: Route) -> None:
        response = route.fetch()
        body = response.json()
        body["limits"]["max_job_images"] = 3
        route.fulfill(response=response, json=body)

    page.route("**/info", tight)
    teach(with_form(opened(page, live_server)), "lesson", folder(cat=2, dog=2))
    expect(page.locator("#teach-error")).to_have_text("4 pictures, and this server takes 3 at once.")


def test_a_picture_that_cannot_be_read_is_named_and_the_others_teach(
    form: Page, label_set: str, folder: MakeFolder
) -> None:
    pets = folder(cat=2, dog=2)
    (pets / "dog" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    teach(form, label_set, pets)
    expect(outcome(form)).to_contain_text("4 different pictures of 2 of 2 labels, 2 of each.")
    expect(form.locator(".callout")).to_contain_text("1 picture could not be read.")
    expect(form.locator(".callout")).to_contain_text("broken.png: This is not an image")


def test_a_lesson_shows_its_progress_and_can_be_cancelled(form: Page, label_set: str, folder: MakeFolder) -> None:
    """The real job may be over in no time, so its states are played here."""
    asked: list[str] = []
    job: dict[str, Any] = {"id": "job_1", "label_set": label_set, "state": "running", "progress": 0.4, "error": None}

    def answer(route: Route) -> None:
        asked.append(route.request.method)
        if route.request.method == "DELETE":
            job["state"] = "cancelled"
        route.fulfill(json=job)

    form.route("**/v1/label-sets/*/controller", lambda route: route.fulfill(status=202, json=job))
    form.route("**/v1/jobs/job_1", answer)
    teach(form, label_set, folder(cat=2, dog=2))
    expect(form.locator("#teach-status")).to_have_text("Fitting, 40%.")
    expect(form.get_by_role("progressbar")).to_have_attribute("value", "0.4")
    expect(form.get_by_role("button", name="Teach", exact=True)).to_be_disabled()
    form.get_by_role("button", name="Cancel lesson").click()
    expect(form.locator("#teach-status")).to_have_text("Cancelled: nothing was activated.")
    assert "DELETE" in asked
    expect(form.get_by_role("button", name="Teach", exact=True)).to_be_enabled()
    expect(form.get_by_role("progressbar")).to_have_count(0)


def test_a_lesson_that_fails_shows_the_error(form: Page, label_set: str, folder: MakeFolder) -> None:
    error = {"message": "It took too long.", "type": "t", "param": None, "code": "job_timeout", "request_id": "req_7"}
    job = {"id": "job_1", "label_set": label_set, "state": "failed", "progress": 0.4, "error": error}
    form.route("**/v1/label-sets/*/controller", lambda route: route.fulfill(status=202, json=job))
    teach(form, label_set, folder(cat=2, dog=2))
    for text in ("It took too long.", "job_timeout", "req_7"):
        expect(form.locator("#teach-failure")).to_contain_text(text)


def test_a_server_that_wants_a_key_gets_to_ask_for_it(form: Page, label_set: str, folder: MakeFolder) -> None:
    refusal = {"message": "This server wants an API key.", "type": "t", "param": None, "code": "unauthorized"}
    form.route("**/v1/label-sets*", lambda route: route.fulfill(status=401, json={"error": refusal}))
    teach(form, label_set, folder(cat=2, dog=2))
    expect(form.locator("#teach-failure")).to_contain_text("This server wants an API key")
    expect(form.get_by_label("API key")).to_be_visible()


def test_a_cascade_is_offered_where_one_is_calibrated_and_nowhere_else(
    page: Page, live_server: str, label_set: str
) -> None:
    address = f"{live_server}/v1/label-sets/{label_set}"
    assert page.request.put(address, data={"labels": ["bus", "boat"]}).ok
    opened(page, live_server)
    assert "Cascade" not in policies(page)
    page.get_by_label("Registered set").check()
    page.get_by_label("Registered label set").select_option(label_set)
    assert "Cascade" not in policies(page)

    def calibrated(route: Route) -> None:
        response = route.fetch()
        promise = {"epsilon": 0.05, "delta": 0.1}
        cascade = {"version": 1, "applies": True, "reason": None, "promise": promise}
        route.fulfill(response=response, json=response.json() | {"cascade": cascade})

    page.route(f"**/v1/label-sets/{label_set}", calibrated)
    page.get_by_label("Typed").check()
    page.get_by_label("Registered set").check()
    page.get_by_label("Policy").select_option("cascade")
    page.get_by_label("Typed").check()
    assert "Cascade" not in policies(page)
    expect(page.get_by_label("Policy")).to_have_value("")
    page.get_by_label("Registered set").check()
    expect(page.locator("#policy-hint")).to_contain_text("usually: cascade.")


def test_a_phone_can_teach_and_scrolls_in_one_direction_only(phone: Page, label_set: str, folder: MakeFolder) -> None:
    teach(with_form(phone), label_set, folder(cat=1, dog=1, pneumonoultramicroscopicsilicovolcanoconiosis=1))
    expect(outcome(phone)).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    save_screenshot(phone, "teaching-phone")


def test_the_form_is_usable_by_keyboard(form: Page) -> None:
    form.locator("#teach-name").focus()
    reached = []
    for _ in range(5):
        form.keyboard.press("Tab")
        reached.append(form.evaluate("document.activeElement.id"))
    assert reached == ["teach-template", "teach-folder", "teach-label", "teach-files", "teach-start"]
