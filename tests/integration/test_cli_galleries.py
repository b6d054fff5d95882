"""`quorum index`, `search` and `galleries` as a user types them: without a server, with one, and killed halfway."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import ROOT
from tests.integration.conftest import Photos, Quorum
from tests.integration.test_serve import serving
from tests.support.cli import plain, said
from tests.support.images import jpeg

PATIENCE_S = 60.0
BATCH = 4


@pytest.fixture
def environment(environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    return environment | {"QUORUM_GALLERIES_URL": str(tmp_path / "state" / "galleries.db")}


@pytest.fixture
def shop(quorum: Quorum, photos: Photos, tmp_path: Path) -> Path:
    """The folder that the gallery `shop` was made of: three cats of 2020 to 2022, three dogs, without fields."""
    folder = photos(3, "cat", "dog")
    rows = "".join(f"cat/{number}.jpg,{2020 + number},web\n" for number in range(3))
    (tmp_path / "fields.csv").write_text(f"id,year,source\n{rows}")
    fields = ("--field", "year=integer", "--field", "source=string", "--fields", tmp_path / "fields.csv")
    made = quorum("index", "shop", folder, *fields)
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("shop: 6 created, 0 updated, 0 unchanged, 0 failed; ")
    assert made.stderr == "shop is created.\n"
    return folder


def hits(output: str) -> list[list[str]]:
    """Ids of each query's hits in the API's JSON."""
    return [[hit["id"] for hit in result["hits"]] for result in json.loads(output)["results"]]


def test_what_was_indexed_is_found(quorum: Quorum, shop: Path) -> None:
    result = quorum("search", "shop", shop / "cat/1.jpg", "id:dog/2.jpg", "a dog", "--top-k", "2")
    assert result.exit_code == 0, result.output
    image, item, words = plain(result.stdout).split(" GFLOPs ")[:3]
    assert f"{shop}/cat/1.jpg Rank Item Score Fields 1 cat/1.jpg 1.000 year=2021 source=web 2 " in image
    assert "mean: small, large; " in image
    assert item.startswith("id:dog/2.jpg Rank Item Score")
    assert "1 dog/2.jpg" not in item
    assert words.startswith("a dog Rank Item Score")
    assert "3 queries: " in result.stdout


def test_conditions_choose_among_the_items(quorum: Quorum, shop: Path) -> None:
    assert shop.is_dir()

    def found(*where: str) -> list[str]:
        options = [part for condition in where for part in ("--where", condition)]
        result = quorum("search", "shop", "a cat", *options, "--json")
        assert result.exit_code == 0, result.output
        return sorted(hits(result.stdout)[0])

    assert found("year>=2021") == ["cat/1.jpg", "cat/2.jpg"]
    assert found("year>2020", "year<2022") == ["cat/1.jpg"]
    assert found("year=2020", "year=2022", "source=web") == ["cat/0.jpg", "cat/2.jpg"]
    assert found("source=") == ["dog/0.jpg", "dog/1.jpg", "dog/2.jpg"]
    assert found("source!=web") == ["dog/0.jpg", "dog/1.jpg", "dog/2.jpg"]
    nothing = quorum("search", "shop", "a cat", "--where", "source=print")
    assert "Nothing is found." in nothing.stdout
    assert nothing.exit_code == 0


def test_a_mix_is_one_query_and_explained(quorum: Quorum, shop: Path) -> None:
    result = quorum("search", "shop", "a cat=0.7", f"{shop}/cat/1.jpg=-.3", "id:dog/0.jpg", "--mix", "--explain")
    assert result.exit_code == 0, result.output
    text = plain(result.stdout)
    assert text.startswith(f"a cat=0.7 + {shop}/cat/1.jpg=-.3 + id:dog/0.jpg Rank Item Score small large")
    assert "mean: small (50%), large (50%); " in text
    assert "queries" not in text


def test_a_query_that_fails_is_told_of_and_the_others_are_answered(quorum: Quorum, shop: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    result = quorum("search", "shop", tmp_path / "broken.jpg", "id:nobody", shop / "cat/0.jpg", "--top-k", "1")
    assert result.exit_code == 1
    assert f"{tmp_path}/broken.jpg: This is not an image" in result.stderr
    assert 'id:nobody: The gallery holds no item "nobody".' in result.stderr
    assert "1 cat/0.jpg" in plain(result.stdout)
    alone = quorum("search", "shop", "id:nobody")
    assert alone.stderr.startswith('id:nobody: The gallery holds no item "nobody".')
    assert alone.exit_code == 1


def test_what_is_there_is_not_sent_again_and_what_changed_is(quorum: Quorum, shop: Path) -> None:
    again = quorum("index", "shop", shop)
    assert again.stdout.startswith("shop: 0 created, 0 updated, 6 unchanged, 0 failed; ")
    (shop / "dog/0.jpg").write_bytes(jpeg(seed=77))
    (shop / "dog/new.jpg").write_bytes(jpeg(seed=78))
    changed = quorum("index", "shop", shop, "--json")
    assert json.loads(changed.stdout) == {
        "gallery": "shop",
        "created": 1,
        "updated": 1,
        "unchanged": 5,
        "deleted": 0,
        "failed": [],
    }
    newest = quorum("search", "shop", shop / "dog/0.jpg", "--top-k", "1", "--json")
    assert hits(newest.stdout) == [["dog/0.jpg"]]
    assert hits(quorum("search", "shop", "a", "--where", "year=2021", "--json").stdout) == [["cat/1.jpg"]]


def test_what_cannot_be_read_is_listed_and_the_rest_is_indexed(quorum: Quorum, photos: Photos) -> None:
    folder = photos(2)
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "cut.jpg").write_bytes(jpeg()[:300])
    (folder / "notes.md").write_text("no image")
    result = quorum("index", "shop", folder)
    assert result.exit_code == 1
    assert f'Left out, no image files: "{folder}/notes.md".' in result.stderr
    assert f"{folder}/broken.jpg: This is not an image" in result.stderr
    assert f"{folder}/cut.jpg: The image is damaged or truncated" in result.stderr
    assert "shop: 2 created, 0 updated, 0 unchanged, 2 failed; " in result.stdout
    failed = json.loads(quorum("index", "shop", folder, "--json").stdout)["failed"]
    assert sorted(failure["id"] for failure in failed) == ["broken.jpg", "cut.jpg"]


def test_archives_and_texts_become_items(quorum: Quorum, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text('{"id": "Käse 犬", "text": "a red dress", "fields": {"year": 1999}}\n')
    with tarfile.open(tmp_path / "shard.tar.gz", "w:gz") as archive:
        for name, content in (("s/1.jpg", jpeg(seed=1)), ("s/1.json", b'{"year": 2024, "caption": "a cat"}')):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    made = quorum("index", "shop", tmp_path / "shard.tar.gz", tmp_path / "texts.jsonl", "--field", "year=integer")
    assert made.exit_code == 0, made.output
    found = quorum("search", "shop", "a red dress", "--json")
    assert hits(found.stdout)[0][0] == "Käse 犬"
    answer = json.loads(quorum("search", "shop", "id:Käse 犬", "--json").stdout)
    assert answer["results"][0]["hits"][0]["fields"] == {"year": 2024}


def test_ids_that_no_header_carries_arrive_as_they_are(quorum: Quorum, photos: Photos) -> None:
    folder = photos(0)
    names = ['a"b.jpg', "100%22.jpg", "a\\b.jpg", "new\nline.jpg", "plus+and&.jpg", "images[x].jpg", "[red]x[bold].jpg"]
    for seed, name in enumerate(names):
        (folder / name).write_bytes(jpeg(seed=seed))
    assert quorum("index", "shop", folder).exit_code == 0
    found = quorum("search", "shop", "a", "--json")
    assert sorted(hits(found.stdout)[0]) == sorted(names)
    assert "[red]x[bold].jpg" in quorum("search", "shop", "a").stdout


def test_items_of_no_source_are_deleted_only_when_that_is_asked_for_and_confirmed(quorum: Quorum, shop: Path) -> None:
    for path in (shop / "dog").iterdir():
        path.unlink()
    assert quorum("index", "shop", shop).stdout.startswith("shop: 0 created, 0 updated, 3 unchanged, 0 failed; ")
    assert "6 items" in quorum("galleries", "show", "shop").stdout
    asked = quorum("index", "shop", shop, "--delete-missing", stdin=b"n\n")
    assert "Delete 3 items of shop that are in none of the sources: " in asked.stderr
    assert "6 items" in quorum("galleries", "show", "shop").stdout
    done = quorum("index", "shop", shop, "--delete-missing", "--yes")
    assert ", 3 deleted; " in done.stdout
    assert "3 items" in quorum("galleries", "show", "shop").stdout


def test_a_gallery_is_rebuilt_as_it_was(quorum: Quorum, shop: Path) -> None:
    before = json.loads(quorum("galleries", "show", "shop", "--json").stdout)
    kept = quorum("index", "shop", shop, "--rebuild", stdin=b"n\n")
    assert "Delete shop with its 6 items and create it anew?" in kept.stderr
    assert kept.exit_code == 1
    rebuilt = quorum("index", "shop", shop, "--rebuild", "--yes")
    assert rebuilt.stdout.startswith("shop: 6 created, ")
    after = json.loads(quorum("galleries", "show", "shop", "--json").stdout)
    assert after.pop("created_at") > before.pop("created_at")
    assert after == before


def test_galleries_are_listed_shown_and_deleted(quorum: Quorum, shop: Path) -> None:
    assert quorum("index", "pair", shop / "cat", "--backbones", "small", "--metric", "ip").exit_code == 0
    rows = quorum("galleries", "list").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["Name", "pair", "shop"]
    assert [each["name"] for each in json.loads(quorum("galleries", "list", "--json").stdout)["data"]] == [
        "pair",
        "shop",
    ]
    shown = quorum("galleries", "show", "shop").stdout
    for expected in ("shop 6 items", "small", "large", "Fields: year (integer), source (string)", "Metric cosine"):
        assert expected in shown
    assert quorum("galleries", "delete", "pair").stdout == "pair: deleted.\n"
    gone = quorum("galleries", "show", "pair")
    assert 'There is no gallery "pair".' in gone.stderr
    assert "`quorum index` makes one" in gone.stderr
    assert gone.exit_code == 1


def test_looking_leaves_no_galleries_behind(quorum: Quorum, cat: Path, environment: dict[str, str]) -> None:
    assert "There are no galleries" in quorum("galleries", "list").stdout
    assert quorum("search", "shop", "a").exit_code == 1
    assert quorum("classify", cat, "--labels", "cat,dog").exit_code == 0
    assert not Path(environment["QUORUM_GALLERIES_URL"]).exists()


def test_other_commands_work_beside_a_server_that_has_the_galleries(
    quorum: Quorum, shop: Path, cat: Path, environment: dict[str, str]
) -> None:
    with serving(environment) as server:
        assert quorum("search", "shop", "a", "--url", server.url).exit_code == 0
        assert quorum("classify", cat, "--labels", "cat,dog").exit_code == 0
        refused = quorum("index", "shop", shop)
        assert "another process has" in refused.stderr
        assert refused.exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["index", "shop"], "Missing argument"),
        (["index", "shop", "nowhere"], "nowhere is not there; a source is a folder"),
        (["index", "../shop", "PHOTOS"], "a gallery's name has at most 64"),
        (["index", "shop", "EMPTY"], "there are no images in it"),
        (["index", "shop", "PHOTOS", "PHOTOS"], "would both be the item"),
        (["index", "shop", "PHOTOS", "--field", "year"], '"year" is no field. One looks like year=integer'),
        (["index", "shop", "PHOTOS", "--fields", "nowhere.csv"], "does not exist"),
        (["index", "shop", "PHOTOS", "--field", "year=string"], "shop is there with another: year=integer"),
        (["index", "shop", "PHOTOS", "--backbones", "small"], "shop is there with another: small, large"),
        (["search", "shop"], "Missing argument"),
        (["search", "shop", " "], "a query without words"),
        (["search", "shop", "a=0", "--mix"], "a=0: a weight is any number but 0"),
        (["search", "shop", "a", "--where", "year"], '"year" is no condition'),
        (["search", "shop", "a", "--where", "yaer=1"], 'shop has no field "yaer": it has year, source'),
        (["search", "shop", "a", "--top-k", "0"], "--top-k"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_explained_with_status_2(
    quorum: Quorum, shop: Path, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"PHOTOS": str(shop), "EMPTY": str(tmp_path / "empty")}
    result = quorum(*[places.get(argument, argument) for argument in arguments])
    assert sentence in said(result)
    assert result.exit_code == 2
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["index", "new", "PHOTOS", "--backbones", "huge"], 'There is no backbone "huge"'),
        (["search", "shop", "a", "--policy", "single"], "Policy single needs exactly one name in backbones."),
        (["search", "nowhere", "a"], 'There is no gallery "nowhere"'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_server_refuses_is_said_in_its_words(
    quorum: Quorum, shop: Path, arguments: list[str], sentence: str
) -> None:
    result = quorum(*[str(shop) if argument == "PHOTOS" else argument for argument in arguments])
    assert sentence in result.stderr
    assert result.exit_code == 1


def begin_index(url: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "service.cli", "index", "shop", str(folder), "--url", url],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores Ctrl+C, and so would everything that these tests start.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def held(url: str) -> int:
    answer = httpx2.get(f"{url}/v1/galleries/shop")
    return int(answer.json()["items"]) if answer.status_code == 200 else 0


def wait_until(happened: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < ends_s
        time.sleep(0.01)


def ids_in(url: str) -> list[str]:
    answer: dict[str, Any] = httpx2.get(f"{url}/v1/galleries/shop/items", params={"limit": 1000}).json()
    assert not answer["has_more"]
    return [item["id"] for item in answer["data"]]


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_halfway_it_goes_on_where_it_was(
    quorum: Quorum, photos: Photos, environment: dict[str, str], sig: signal.Signals
) -> None:
    folder = photos(50, "cat", "dog", "fox", "owl")
    with serving(environment | {"QUORUM_MAX_IMAGES": str(BATCH)}) as server:
        process = begin_index(server.url, folder)
        wait_until(lambda: held(server.url) >= 5 * BATCH)
        process.send_signal(sig)
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == (130 if sig is signal.SIGINT else -sig)
        assert "Traceback" not in err
        assert ("Interrupted after" in err) is (sig is signal.SIGINT)
        wait_until(partial(_rests, server.url))
        before = held(server.url)
        assert 5 * BATCH <= before < 200

        done = json.loads(quorum("index", "shop", folder, "--url", server.url, "--json").stdout)
        assert (done["created"], done["updated"], done["unchanged"]) == (200 - before, 0, before)
        found = ids_in(server.url)
        assert len(found) == len(set(found)) == 200
        metrics = httpx2.get(f"{server.url}/metrics").text
        assert 'quorum_items_total{change="updated"}' not in metrics
        assert 'quorum_items_total{change="unchanged"}' not in metrics


def _rests(url: str) -> bool:
    """Whether what was on its way has arrived."""
    before = held(url)
    time.sleep(0.3)
    return held(url) == before
