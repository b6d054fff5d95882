"""Concepts and what is held out."""

from __future__ import annotations

import pytest

from training.data.builders.concepts import concept_of, first_fit, held_out, held_out_of_classes, spoken, with_article

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("names", "concept"),
    [
        (("man health worker", "woman health worker", "health worker"), "health worker"),
        (("blue heart", "red heart", "light blue heart", "heart"), "heart"),
        (("cat", "cat face", "black cat"), "cat"),
        (("person running: facing right", "woman running"), "running"),
        (("one o'clock", "three-thirty"), "clock face"),
        (("woman", "old man", "boy", "person", "princess"), "person"),
        (("family: man, woman, boy", "family"), "family"),
        (("closed mailbox with raised flag", "open mailbox with lowered flag"), "mailbox flag"),
    ],
)
def test_who_colour_and_position_do_not_make_a_concept(names: tuple[str, ...], concept: str) -> None:
    assert {concept_of(name) for name in names} == {concept}


def test_a_face_that_is_the_thing_itself_stays_a_concept_of_its_own() -> None:
    assert concept_of("face with tongue") == "face tongue"
    assert concept_of("grinning cat") != concept_of("cat")


def test_a_name_of_nothing_but_attributes_keeps_its_words() -> None:
    assert concept_of("up left") == "up left"


def test_the_held_out_share_is_met_and_does_not_move() -> None:
    names = [f"concept {i}" for i in range(2000)]
    chosen = [name for name in names if held_out(name, 0.2)]
    assert 0.17 < len(chosen) / len(names) < 0.23
    assert chosen[:3] == ["concept 12", "concept 25", "concept 29"]
    assert set(chosen) <= {name for name in names if held_out(name, 0.5)}


def test_every_class_gives_some_of_its_concepts() -> None:
    classes: dict[str, str | None] = {f"animal {i}": "animal" for i in range(50)}
    classes |= {f"drink {i}": "drink" for i in range(9)} | {f"flute {i}": "flute" for i in range(3)} | {"odd": None}
    chosen = held_out_of_classes(classes, 0.2, least=4)
    counts = {name: sum(classes[concept] == name for concept in chosen) for name in ("animal", "drink", "flute", None)}
    assert counts == {"animal": 10, "drink": 4, "flute": 1, None: 0}


def test_what_is_held_out_does_not_follow_the_order_of_the_table() -> None:
    classes: dict[str, str | None] = {f"animal {i}": "animal" for i in range(50)}
    backwards = dict(reversed(classes.items()))
    assert held_out_of_classes(classes, 0.2) == held_out_of_classes(backwards, 0.2)


def test_file_names_become_words() -> None:
    assert spoken("sword-brandish_2") == "sword brandish"
    assert spoken("3d-glasses") == "3d glasses"
    assert spoken("911") == "911"


def test_articles() -> None:
    assert with_article("insect") == "an insect"
    assert with_article("clock") == "a clock"
    assert with_article("weather") == "weather"


def test_the_first_folder_that_holds_a_file_gives_its_class() -> None:
    classes = (("town/flags", "flag"), ("town", "building"))
    assert first_fit("town/flags/red.png", classes) == "flag"
    assert first_fit("town/house.png", classes) == "building"
    assert first_fit("townhall/house.png", classes) is None
