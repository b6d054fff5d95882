"""The client's jobs with the real application behind it: both sides mean the same by every field."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path

import httpx2
import pytest

from service.api.schemas import ResultOut
from service.client import ApiError, AsyncQuorumClient, CalibrationResult, FitResult, JobFailedError, results
from service.engines.fake import FakeEngine
from service.pipeline.cascade import report as cascade_report
from service.pipeline.controller import report as controller_report
from tests.conftest import MakeApp
from tests.support.images import jpeg

LABELS = ["cat", 'a 5" dog', "back\\slash"]
IMAGES = [jpeg(24, 24, seed=number) for number in range(60)]


@pytest.fixture
async def quorum(make_app: MakeApp, fake_engine: FakeEngine) -> AsyncIterator[AsyncQuorumClient]:
    """The client with the real application behind it, and a label set `pets`."""
    app = make_app(engine=fake_engine)
    async with (
        app.router.lifespan_context(app),
        AsyncQuorumClient("http://test", transport=httpx2.ASGITransport(app)) as client,
    ):
        await client.put_label_set("pets", LABELS)
        yield client


async def test_a_fit_is_begun_waited_for_and_read(quorum: AsyncQuorumClient, tmp_path: Path) -> None:
    (tmp_path / "one.jpg").write_bytes(IMAGES[0])
    several = [(IMAGES[number], LABELS[number % 3]) for number in range(1, 12)]
    examples: list[tuple[Path | bytes, str]] = [(tmp_path / "one.jpg", LABELS[0]), *several, (b"no image", "cat")]
    begun = await quorum.fit_controller("pets", examples, seed=3)
    assert (begun.kind, begun.label_set) == ("controller", "pets")
    job = await quorum.wait_for_job(begun.id)
    result = FitResult.of(job)
    assert (result.about.examples, result.about.classes, result.about.seed) == (12, 3, 3)
    assert [(each.index, each.code) for each in result.skipped] == [(12, "invalid_image")]
    assert set(result.backbones) == {"small", "large"}
    assert [each.id async for each in quorum.list_jobs(label_set="pets", page_size=1)] == [begun.id]


async def test_a_cascade_lives_from_its_calibration_to_its_deletion(quorum: AsyncQuorumClient) -> None:
    truth = [LABELS[number % 3] for number in range(len(IMAGES))]
    for labels in (None, truth):
        begun = await quorum.calibrate_cascade("pets", IMAGES, labels=labels, epsilon=0.3)
        result = CalibrationResult.of(await quorum.wait_for_job(begun.id))
        assert (result.epsilon, result.delta, result.controller) == (0.3, 0.1, None)
        assert (result.tested.accuracy_gap is None) == (labels is None)
        assert len(result.stages) == len(result.tested.exit_shares)
        assert sorted(name for stage in result.stages for name in stage.backbones) == ["large", "small"]
    answer = (await quorum.classify([IMAGES[0]], label_set="pets")).results[0]
    assert isinstance(answer, ResultOut)
    assert (answer.policy, answer.promise is not None) == ("cascade", True)
    capped = (await quorum.classify([IMAGES[0]], label_set="pets", max_gflops=0.3, min_confidence=0.5)).results[0]
    assert isinstance(capped, ResultOut)
    assert (list(capped.backbones or {}), capped.promise) == (["small"], None)
    assert [each.version for each in (await quorum.fitted("pets", "cascade")).versions] == [2, 1]
    assert (await quorum.activate("pets", "cascade", 1)).active == 1
    details = await quorum.get_label_set("pets")
    assert details.cascade is not None
    assert (details.cascade.version, details.controller) == (1, None)
    await quorum.delete_fitted("pets", "cascade")
    with pytest.raises(ApiError) as caught:
        await quorum.fitted("pets", "cascade")
    assert caught.value.status == 404


async def test_a_cancelled_job_ends_the_wait_with_its_code(quorum: AsyncQuorumClient, fake_engine: FakeEngine) -> None:
    fake_engine.faults.delay_s = {"small_image": 0.2}
    begun = await quorum.calibrate_cascade("pets", IMAGES)
    assert (await quorum.cancel_job(begun.id)).state == "cancelled"
    with pytest.raises(JobFailedError) as caught:
        await quorum.wait_for_job(begun.id)
    assert caught.value.code == "job_cancelled"
    assert (await quorum.job(begun.id)).state == "cancelled"


async def test_what_jobs_cannot_begin_with_is_judged_by_the_server(quorum: AsyncQuorumClient) -> None:
    with pytest.raises(ApiError) as caught:
        await quorum.fit_controller("pets", [(IMAGES[0], "zebra")])
    assert caught.value.code == "invalid_examples"
    with pytest.raises(ApiError) as caught:
        await quorum.calibrate_cascade("pets", IMAGES[:2], labels=["cat"])
    assert caught.value.param == "labels"


def test_the_typed_results_know_every_field_that_is_always_there() -> None:
    """Reports grow; what the client has a name for must exist under that name."""
    ladder = {each.name for each in fields(controller_report.LadderReport)}
    assert set(FitResult.model_fields) == ladder | {"skipped", "version"}
    for part in ("Tested", "Chosen", "AccuracyGap"):
        known = set(getattr(results, part).model_fields)
        assert known <= {each.name for each in fields(getattr(cascade_report, part))}
    report = {each.name for each in fields(cascade_report.Report)}
    assert set(CalibrationResult.model_fields) == report | {"stages", "controller", "skipped", "version"}
