"""Model cards whose marked sections a command writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.evaluate.card import CardError, bring_up_to_date, check, fill

pytestmark = pytest.mark.torch

CARD = """# A card

By hand.

<!-- written by evaluate: scores -->
old
<!-- end of scores -->

By hand, too.
"""


def test_only_what_stands_between_the_markers_changes() -> None:
    filled = fill(CARD, {"scores": r"new \1", "unused": "x"})
    assert r"new \1" in filled
    assert "old" not in filled
    assert filled.startswith("# A card\n\nBy hand.\n\n<!-- written")
    assert filled.endswith("<!-- end of scores -->\n\nBy hand, too.\n")


def test_filling_twice_changes_nothing_more() -> None:
    once = fill(CARD, {"scores": "new"})
    assert fill(once, {"scores": "new"}) == once


def test_a_card_without_any_section_to_write_is_an_error() -> None:
    with pytest.raises(CardError, match="no section to write; known: other"):
        fill(CARD, {"other": "x"})


def test_a_section_that_another_suite_writes_is_left_alone() -> None:
    other = "<!-- written by evaluate: other -->\nold\n<!-- end of other -->\n"
    filled = fill(CARD + other, {"scores": "new"})
    assert filled.endswith(other)
    assert "\n\nnew\n\n" in filled


def test_a_section_without_an_end_is_an_error() -> None:
    with pytest.raises(CardError, match="scores"):
        fill(CARD.replace("<!-- end of scores -->", ""), {"scores": "x"})


def test_a_section_that_ends_before_it_starts_is_an_error() -> None:
    with pytest.raises(CardError, match="scores"):
        fill("<!-- end of scores -->\n<!-- written by evaluate: scores -->\n", {"scores": "x"})


def test_a_card_is_written_where_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(CARD)
    assert bring_up_to_date(path, {"scores": "new"})
    assert not bring_up_to_date(path, {"scores": "new"})
    assert "new" in path.read_text()


def test_a_missing_card_is_named(tmp_path: Path) -> None:
    for use in (lambda path: bring_up_to_date(path, {}), lambda path: check(path, ())):
        with pytest.raises(CardError, match=r"none\.md"):
            use(tmp_path / "none.md")


def test_a_card_is_checked_without_being_written(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(CARD)
    check(path, ["scores"])
    with pytest.raises(CardError, match="no section to write"):
        check(path, ["other"])
    assert path.read_text() == CARD
