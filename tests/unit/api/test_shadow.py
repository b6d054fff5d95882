"""Shadow checks as operators and callers see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from service.engines.fake import FakeEngine
from tests.conftest import MakeApp
from tests.support.asgi import metric
from tests.support.fitting import PICTURES, URL, Api, pets_on
from tests.support.jobs import PATIENCE_S, until

CHECKS = "quorum_shadow_checks_total"
USED = 48


async def shown(api: Api) -> dict[str, Any]:
    return dict((await api.client.get(f"{URL}/cascade")).json()["shadow"])


async def text(client: httpx2.AsyncClient) -> str:
    return (await client.get("/metrics")).text


async def checked(api: Api, count: int) -> dict[str, Any]:
    async def there() -> bool:
        return bool((await shown(api))["checked"] >= count)

    await until(there)
    found = await shown(api)
    assert found["checked"] == count
    return found


@pytest.fixture
async def api(make_app: MakeApp, fake_engine: FakeEngine) -> AsyncIterator[Api]:
    """Every answer of a cascade is checked."""
    async with pets_on(make_app(engine=fake_engine, shadow_rate=1.0, shadow_gflops_per_s=1e6)) as api:
        yield api


async def used(api: Api) -> dict[str, Any]:
    """A few at a time, so that none is dropped."""
    for start in range(0, USED, 12):
        await api.answers(PICTURES[start : start + 12])
        await checked(api, start + 12)
    return await shown(api)


async def really_disagree(api: Api, images: list[bytes]) -> int:
    early = await api.said(images, policy="cascade", min_confidence=0.0)
    return sum(one != two for one, two in zip(early, await api.said(images, policy="mean"), strict=True))


async def test_a_cascade_that_was_not_used_was_not_checked(api: Api) -> None:
    await api.cascade(0.0)
    assert await shown(api) == {
        "checked": 0,
        "disagreements": 0,
        "observed": 0.0,
        "lower_bound": 0.0,
        "epsilon": 0.02,
        "alert": False,
    }
    assert metric(await text(api.client), "quorum_shadow_excess_ratio") != 0, "NaN: there is nothing to tell"


async def test_what_disagrees_is_counted_and_raises_an_alert(api: Api) -> None:
    await api.cascade(0.0)
    found = await used(api)
    expected = await really_disagree(api, PICTURES[:USED])
    assert expected >= 5, "enough for an alert"
    assert (found["disagreements"], found["observed"]) == (expected, pytest.approx(expected / USED))
    assert found["alert"] is True
    assert 0.02 < found["lower_bound"] < found["observed"]
    scraped = await text(api.client)
    assert metric(scraped, CHECKS, outcome="disagreed") == expected
    assert metric(scraped, CHECKS, outcome="agreed") == USED - expected
    assert metric(scraped, "quorum_shadow_alerts_total") == 1
    assert metric(scraped, "quorum_shadow_disagreement_ratio") == pytest.approx(expected / USED)
    assert metric(scraped, "quorum_shadow_disagreement_lower_bound_ratio") == pytest.approx(found["lower_bound"])
    assert metric(scraped, "quorum_shadow_excess_ratio") == pytest.approx(found["lower_bound"] - 0.02)
    assert metric(scraped, "quorum_shadow_gflops_total") == pytest.approx(USED * 1.5)
    assert "pets" not in scraped


async def test_a_cascade_that_asks_everybody_agrees(api: Api) -> None:
    await api.cascade(2.0)
    await api.answers(PICTURES[:12])
    found = await checked(api, 12)
    assert (found["disagreements"], found["lower_bound"], found["alert"]) == (0, 0.0, False)
    assert metric(await text(api.client), "quorum_shadow_gflops_total") == 0


@pytest.mark.parametrize("override", [{"min_confidence": 0.5}, {"max_gflops": 9.0}, {"backbones": ["small", "large"]}])
async def test_an_answer_without_a_promise_is_not_checked(api: Api, override: dict[str, Any]) -> None:
    await api.cascade(0.0)
    await api.answers(**override)
    await api.answers(policy="nlc")
    assert CHECKS + "{" not in await text(api.client)


async def test_the_rate_is_a_setting_and_nothing_is_a_rate(make_app: MakeApp) -> None:
    async with pets_on(make_app(shadow_rate=0.0)) as api:
        await api.cascade(0.0)
        await api.answers()
        assert CHECKS + "{" not in await text(api.client)


async def test_by_default_a_hundredth_is_checked(make_app: MakeApp) -> None:
    settings = make_app().state.services.settings
    assert (settings.shadow_rate, settings.shadow_gflops_per_s) == (0.01, 10.0)


async def test_another_calibration_begins_anew(api: Api) -> None:
    await api.cascade(0.0)
    await api.answers(PICTURES[:12])
    await checked(api, 12)
    await api.cascade(2.0)
    assert (await shown(api))["checked"] == 0
    await api.answers(PICTURES[:2])
    assert (await checked(api, 2))["disagreements"] == 0


@pytest.mark.parametrize("path", [f"{URL}/cascade", URL])
async def test_what_was_deleted_alarms_nobody_any_more(api: Api, path: str) -> None:
    await api.cascade(0.0)
    await used(api)
    assert metric(await text(api.client), "quorum_shadow_excess_ratio") > 0
    assert (await api.client.delete(path)).status_code == 204
    assert not metric(await text(api.client), "quorum_shadow_excess_ratio") > 0


async def test_a_check_delays_no_answer(api: Api, fake_engine: FakeEngine) -> None:
    await api.cascade(0.0)
    await api.answers(PICTURES[:1], policy="mean")
    fake_engine.faults.delay_s = {"large_image": PATIENCE_S}  # whom only checks ask
    async with asyncio.timeout(PATIENCE_S / 2):
        await api.answers(PICTURES[1:4])
        await api.answers(PICTURES[4:8])


async def test_while_permits_are_short_nothing_is_checked(make_app: MakeApp, fake_engine: FakeEngine) -> None:
    fake_engine.faults.delay_s = {"small_image": 0.2}
    app = make_app(engine=fake_engine, shadow_rate=1.0, max_inflight_requests=4)
    async with pets_on(app) as api:
        await api.cascade(0.0)
        await asyncio.gather(*[api.answers(PICTURES[number : number + 1]) for number in range(4)])
        scraped = await text(api.client)
        dropped = metric(scraped, CHECKS, outcome="dropped")
        assert dropped >= 1
        agreed, disagreed = (metric(scraped, CHECKS, outcome=outcome) for outcome in ("agreed", "disagreed"))
        assert dropped + agreed + disagreed <= 4


async def test_the_end_of_the_process_waits_for_no_check(make_app: MakeApp, fake_engine: FakeEngine) -> None:
    app = make_app(engine=fake_engine, shadow_rate=1.0)
    async with asyncio.timeout(PATIENCE_S / 2):
        async with pets_on(app) as api:
            await api.cascade(0.0)
            await api.answers(PICTURES[:1], policy="mean")
            fake_engine.faults.delay_s = {"large_image": PATIENCE_S}
            await api.answers(PICTURES[1:4])
    assert "shadow checks" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_counts_begin_anew_with_the_process(make_app: MakeApp) -> None:
    async with pets_on(make_app(shadow_rate=1.0)) as api:
        await api.cascade(2.0)
        await api.answers(PICTURES[:3])
        await checked(api, 3)
    async with pets_on(make_app(shadow_rate=1.0)) as api:
        assert (await shown(api))["checked"] == 0
