"""Metrics: what the parts report arrives under a name, with its unit."""

from __future__ import annotations

import re

from service.observability.metrics.registry import Metrics
from tests.support.asgi import metric


def test_everything_that_is_reported_can_be_read() -> None:
    metrics = Metrics()
    metrics.requests.done("POST", "/v1/classify", 200, 0.2, {"decode": 0.1})
    metrics.requests.error("invalid_image")
    metrics.requests.inflight_changed(3)
    metrics.answers.image_classified("last_stage", 1.5)
    metrics.answers.voted("small", 0.75)
    metrics.answers.voted("small", 1.0)
    metrics.answers.embedded(images=2, texts=3, gflops=0.5)
    metrics.towers.batch_done("small_image", 4, 0.01)
    metrics.towers.row_waited("small_image", 0.002)
    metrics.towers.cache_looked_up(hits=2, misses=5)
    metrics.jobs.job_ended("controller", "succeeded", 3.5)
    metrics.jobs.job_ended("cascade", "cancelled", None)
    metrics.jobs.jobs_changed(running=1, queued=4)
    metrics.jobs.watch(lambda: 12.5, 600.0)
    metrics.towers.rows_asked("small_image", ["answered", "unavailable", "answered"])
    text = metrics.render().decode()
    assert metric(text, "quorum_backbone_weight_count", backbone="small") == 2
    assert metric(text, "quorum_backbone_weight_sum", backbone="small") == 1.75
    assert metric(text, "quorum_requests_total", method="POST", route="/v1/classify", status=200) == 1
    assert metric(text, "quorum_request_seconds_sum", route="/v1/classify") == 0.2
    assert metric(text, "quorum_stage_seconds_sum", stage="decode") == 0.1
    assert metric(text, "quorum_errors_total", code="invalid_image") == 1
    assert metric(text, "quorum_inflight_requests") == 3
    assert metric(text, "quorum_images_total", exit_reason="last_stage") == 1
    assert metric(text, "quorum_gflops_total") == 2.0
    assert metric(text, "quorum_embedded_total", kind="image") == 2
    assert metric(text, "quorum_embedded_total", kind="text") == 3
    assert metric(text, "quorum_batch_rows_sum", tower="small_image") == 4
    assert metric(text, "quorum_batch_seconds_sum", tower="small_image") == 0.01
    assert metric(text, "quorum_queue_seconds_sum", tower="small_image") == 0.002
    assert metric(text, "quorum_cache_lookups_total", result="hit") == 2
    assert metric(text, "quorum_cache_lookups_total", result="miss") == 5
    assert metric(text, "quorum_jobs_total", kind="controller", outcome="succeeded") == 1
    assert metric(text, "quorum_jobs_total", kind="cascade", outcome="cancelled") == 1
    assert metric(text, "quorum_job_seconds_sum", kind="controller") == 3.5
    assert metric(text, "quorum_job_seconds_count", kind="cascade") == 0
    assert (metric(text, "quorum_jobs_running"), metric(text, "quorum_jobs_queued")) == (1, 4)
    assert metric(text, "quorum_job_running_seconds") == 12.5
    assert metric(text, "quorum_job_limit_seconds") == 600
    assert metric(text, "quorum_tower_rows_total", tower="small_image", outcome="answered") == 2
    assert metric(text, "quorum_tower_rows_total", tower="small_image", outcome="unavailable") == 1


def test_two_applications_in_one_process_do_not_share_their_counts() -> None:
    one, other = Metrics(), Metrics()
    one.requests.error("not_found")
    assert metric(other.render().decode(), "quorum_errors_total", code="not_found") == 0


def test_every_metric_is_explained() -> None:
    text = Metrics().render().decode()
    helps = dict(re.findall(r"^# HELP (\w+) (.+)$", text, re.MULTILINE))
    assert helps
    assert all(explanation.endswith(".") for explanation in helps.values())


def test_buckets_reach_from_a_cached_answer_to_the_longest_deadline() -> None:
    metrics = Metrics()
    metrics.requests.done("POST", "/v1/classify", 504, 60.0, {})
    bounds = [float(each) for each in re.findall(r'request_seconds_bucket{le="([\d.]+)"', metrics.render().decode())]
    assert bounds == sorted(bounds)
    assert bounds[0] <= 0.001
    assert bounds[-1] >= 30.0
