"""An answer for people: who voted, whose weights those are, what it cost and what is promised."""

from __future__ import annotations

from typing import Any

import pytest

from service.api.schemas import ClassifyResponse, PredictionOut, PromiseOut, ResultOut, UsageOut, VoteOut
from service.cli.classify import show
from service.policies import ExitReason


def shown(capsys: pytest.CaptureFixture[str], **changes: Any) -> str:
    """The words for one answer, of two backbones under a controller unless `changes` say otherwise."""
    fields: dict[str, Any] = {
        "index": 0,
        "predictions": [PredictionOut(label="cat", probability=0.75, cosine=0.2)],
        "confidence": 0.75,
        "exit_score": 0.75,
        "policy": "nlc",
        "controller": "pets/3",
        "exit_reason": "last_stage",
        "promise": None,
        "stages": 1,
        "backbones": {
            "small": VoteOut(weight=1.25, top_label="cat", probability=0.9, cached=True),
            "large": VoteOut(weight=0.75, top_label="dog", probability=0.6, cached=False),
        },
        "gflops": 1.5,
        "gflops_full": 1.75,
        "degraded": False,
        "failed": [],
    }
    usage = UsageOut(images=1, backbone_calls={"large": 1}, gflops=1.5, gflops_full=1.75)
    result = ResultOut(**fields | changes)
    show(ClassifyResponse(id="1", model="committee", label_set=None, results=[result], usage=usage), ["cat.jpg"])
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [("deadline", "within the deadline"), ("degraded", "failed"), ("budget", "more than --max-gflops")],
)
def test_an_answer_that_is_not_everybodys_says_so(
    capsys: pytest.CaptureFixture[str], reason: ExitReason, sentence: str
) -> None:
    assert sentence in shown(capsys, exit_reason=reason)


def test_weights_are_shown_with_whose_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        "nlc under pets/3: small (weight 1.25) says cat (90.0%, cached), large (weight 0.75) says dog (60.0%); "
        "1.5 of 1.75 GFLOPs"
    ) in shown(capsys)


def test_a_controllers_weights_are_shown_even_where_they_are_equal(capsys: pytest.CaptureFixture[str]) -> None:
    votes = {name: VoteOut(weight=1.0, top_label="cat", probability=0.9, cached=False) for name in ("small", "large")}
    assert "small (weight 1.00) says" in shown(capsys, backbones=votes)
    assert "small says" in shown(capsys, backbones=votes, controller=None, policy="mean")


def test_a_cascade_shows_its_stages_and_what_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    promise = PromiseOut(epsilon=0.02, delta=0.1)
    assert ("GFLOPs; 1 stage; with probability 0.9, at most 2% of answers differ from the full committee's") in shown(
        capsys, policy="cascade", exit_reason="confident", promise=promise
    )
    assert "; 2 stages; no promise" in shown(capsys, policy="cascade", stages=2)
    assert "promise" not in shown(capsys)


def test_who_did_not_answer_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    said_of_it = shown(capsys, exit_reason="degraded", degraded=True, failed=["huge", "vast"])
    assert "GFLOPs; no answer from huge, vast" in said_of_it
