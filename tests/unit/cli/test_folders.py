"""Images in folders, as the commands that learn from them find, choose and read them."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest
import typer

from service.cli.folders import Picture, check_not_empty, look, match, read, sample
from tests.support.images import encoded, jpeg, photograph


def picture(path: Path, content: bytes) -> Picture:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Picture(path, len(content))


def names(pictures: list[Picture]) -> list[str]:
    return [each.path.name for each in pictures]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_images_are_known_by_their_contents_not_their_names(tmp_path: Path, image_format: str) -> None:
    (tmp_path / "photo.txt").write_bytes(encoded(photograph(), image_format))
    (tmp_path / "notes.jpg").write_text("this is no image")
    found = look(tmp_path)
    assert [each.path.name for each in found.loose] == ["photo.txt"]
    assert found.loose[0].size_bytes == (tmp_path / "photo.txt").stat().st_size
    assert [path.name for path in found.skipped] == ["notes.jpg"]


def test_sub_folders_are_classes_and_nothing_below_them_is(tmp_path: Path) -> None:
    for path in ("cat/b.jpg", "cat/a.jpg", "dog/c.jpg", "dog/more/d.jpg", ".cache/e.jpg"):
        picture(tmp_path / path, jpeg())
    (tmp_path / "cat" / ".DS_Store").touch()
    found = look(tmp_path)
    assert {name: names(list(pictures)) for name, pictures in found.classes.items()} == {
        "cat": ["a.jpg", "b.jpg"],
        "dog": ["c.jpg"],
    }
    assert (list(found.loose), found.skipped) == ([], [tmp_path / "dog" / "more"])


def test_what_cannot_be_opened_without_waiting_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty.jpg").touch()
    assert [path.name for path in look(tmp_path).skipped] == ["dangling", "empty.jpg", "pipe"]


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "a.jpg", jpeg())
    (tmp_path / "dog").mkdir()
    with pytest.raises(typer.BadParameter, match='no images in "dog"'):
        check_not_empty(look(tmp_path))


def test_unknown_classes_are_named_with_the_labels_that_were_meant() -> None:
    with pytest.raises(typer.BadParameter) as caught:
        match(["Apple", "granny_smith", "zebra", "appel"], ["Apple", "Granny Smith"], "fruit")
    sentence = caught.value.message
    assert '"granny_smith" (did you mean "Granny Smith"?), "zebra", "appel" (did you mean "Apple"?)' in sentence
    assert '"Apple",' not in sentence
    assert "quorum labels show fruit" in sentence


def test_many_unknown_classes_are_counted() -> None:
    with pytest.raises(typer.BadParameter, match=r'"class 4" and 95 more\. Sub-folders'):
        match([f"class {number}" for number in range(100)], ["Apple"], "fruit")


def test_names_are_compared_as_they_are_read() -> None:
    composed = "Käse"
    decomposed = unicodedata.normalize("NFD", composed)
    assert decomposed != composed
    assert match([decomposed], [composed], "food") == {decomposed: composed}
    assert match([composed], [decomposed], "food") == {composed: decomposed}


def test_a_name_that_is_no_text_is_refused_not_fatal(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    with pytest.raises(typer.BadParameter) as caught:
        match(look(tmp_path).classes, ["café"], "places")
    assert caught.value.message.encode("utf-8")


def test_a_sample_depends_on_contents_and_seed_alone(tmp_path: Path) -> None:
    contents = [jpeg(seed=number) for number in range(12)]
    first = [picture(tmp_path / "one" / f"{number}.jpg", content) for number, content in enumerate(contents)]
    renamed = [picture(tmp_path / "two" / f"{9 - number}.x", content) for number, content in enumerate(contents)]

    def chosen(pictures: list[Picture], seed: int) -> set[bytes]:
        return {each.path.read_bytes() for each in sample(pictures, 4, seed)}

    assert chosen(first, 0) == chosen(renamed, 0) == chosen(list(reversed(first)), 0)
    assert len({frozenset(chosen(first, seed)) for seed in range(5)}) > 1
    assert chosen(first[:6], 0) >= chosen(first, 0) & set(contents[:6])


def test_a_larger_sample_holds_the_smaller_one_and_copies_count_once(tmp_path: Path) -> None:
    pictures = [picture(tmp_path / f"{number}.jpg", jpeg(seed=number % 5)) for number in range(10)]
    few, many = sample(pictures, 2, 0), sample(pictures, 4, 0)
    assert set(few) < set(many)
    assert names(sample(pictures, 100, 0)) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg"]


def test_one_image_in_two_classes_is_a_contradiction(tmp_path: Path) -> None:
    one, copy = picture(tmp_path / "cat" / "a.jpg", jpeg()), picture(tmp_path / "dog" / "b.jpg", jpeg())
    with pytest.raises(typer.BadParameter, match=r"cat/a\.jpg and .*dog/b\.jpg are the same image"):
        read([(one, "cat"), (copy, "dog")])
    assert read([(one, "cat"), (copy, "cat")]) == [jpeg(), jpeg()]
    assert read([(one, None), (copy, None)]) == [jpeg(), jpeg()]


def test_a_file_that_is_gone_meanwhile_is_named(tmp_path: Path) -> None:
    gone = picture(tmp_path / "a.jpg", jpeg())
    gone.path.unlink()
    with pytest.raises(typer.BadParameter, match=r"a\.jpg: No such file"):
        read([(gone, None)])
    with pytest.raises(typer.BadParameter, match=r"a\.jpg: No such file"):
        sample([gone], 1, 0)
