"""Quiet: nothing below an error, for as long as asked."""

import logging

import pytest

from training.models.quiet import only_errors
from training.models.towers import build_model


def test_warnings_are_dropped_and_errors_are_not(caplog: pytest.LogCaptureFixture) -> None:
    with only_errors():
        logging.getLogger().warning("of no interest")
        logging.getLogger("some.library").warning("of none either")
        logging.getLogger().error("of interest")
    logging.getLogger().warning("again")
    assert [record.message for record in caplog.records] == ["of interest", "again"]


def test_the_level_is_as_before_after_a_failure() -> None:
    before = logging.getLogger().level
    with pytest.raises(ZeroDivisionError), only_errors():
        raise ZeroDivisionError
    assert logging.getLogger().level == before


def test_a_model_that_starts_at_random_is_no_matter_for_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    build_model("mixer-n")
    assert caplog.records == []
