"""What becomes of errors that the user of a command can mend."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import typer

from training.cli_errors import KILLED, one_sentence
from training.data.rows import DataError


def test_an_error_of_ours_is_its_message_and_status_1(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, one_sentence():
        raise DataError("here is no data")
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == "error: here is no data\n"


def test_a_worker_that_is_killed_is_a_sentence_too(capsys: pytest.CaptureFixture[str]) -> None:
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    with pytest.raises(typer.Exit) as ended, one_sentence(), pool:
        pool.submit(_killed).result()
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == f"error: {KILLED}\n"


def test_an_error_that_nobody_foresaw_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), one_sentence():
        raise ZeroDivisionError


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
