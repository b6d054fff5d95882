"""Programs by their text."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.experts.composites import exact_identity
from training.experts.programs import program_digest

pytestmark = pytest.mark.torch

TEXT = '''"""Doubles."""

from here import factor


def double(x: int) -> int:
    """Twice x."""
    return factor * x
'''


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("from here import factor", "from there.now import (\n    factor,\n)", True),
        ("Twice x.", "Two times x.\n\n    And more.", True),
        ("factor * x", "factor + x", False),
        ("x: int", "x: float", False),
    ],
    ids=["a module moves", "a sentence changes", "the sum changes", "a type changes"],
)
def test_only_what_may_change_the_outcome_changes_the_digest(tmp_path: Path, old: str, new: str, same: bool) -> None:
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text(TEXT)
    two.write_text(TEXT.replace(old, new))
    assert (program_digest([one]) == program_digest([two])) is same


def test_composites_carry_the_digest_of_their_program() -> None:
    assert len(exact_identity().digest) == 64
