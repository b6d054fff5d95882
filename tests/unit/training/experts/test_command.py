"""`python -m training.experts`."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.experts.__main__ import app
from training.experts.errors import ExpertError
from training.experts.known import EXPERTS, load_expert

pytestmark = pytest.mark.torch


def test_the_command_explains_itself_and_names_the_experts() -> None:
    result = CliRunner().invoke(app, ["label", "--help"])
    assert result.exit_code == 0
    assert all(name in result.stdout for name in EXPERTS)


def test_an_unknown_expert_is_one_sentence() -> None:
    with pytest.raises(ExpertError, match=rf'^no expert is called "oracle"; there are {", ".join(EXPERTS)}\.$'):
        load_expert("oracle")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--expert", "oracle"], 'no expert is called "oracle"'),
        (["--expert", "dpt", "--device", "abacus"], 'there is no device "abacus" here'),
        (["--expert", "dpt", "--shard", "3/2"], 'shard "3/2"'),
    ],
)
def test_wrong_options_are_one_sentence(small_data: Path, options: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, ["label", "--data", str(small_data), *options])
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {sentence}")
    assert result.stderr.count("\n") == 1
