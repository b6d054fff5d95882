"""What the gateway adds to one image at concurrency 1: POST minus `session.run`, pair by pair on the same image."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import uvloop

from loadtest import raw
from loadtest.connection import Pool, Response
from loadtest.gateway import Gateway, GatewayError
from loadtest.payload import ClassifyRequests
from loadtest.scenarios.bench import ANSWER_WITHIN_S, Bench, Run, fetch, warm
from loadtest.tally import milliseconds, server_timing_ms, spread

WARMUP_PAIRS = 10
FLOOR_SAMPLES = 100
AIM_MS = 3.0


def overhead(bench: Bench, backbones: Sequence[str], pairs: int, threads: int) -> Iterator[Run]:
    """Per backbone `pairs` interleaved measurements; `threads` is what the gateway's sessions use."""
    with bench.gateway() as gateway:
        for backbone in backbones:
            yield _backbone_overhead(bench, gateway, backbone, pairs, threads)


def _backbone_overhead(bench: Bench, gateway: Gateway, backbone: str, pairs: int, threads: int) -> Run:
    tower = raw.RawTower(bench.repository, backbone, threads)
    images = raw.tensors(bench.jpegs, tower.image_size)
    requests = bench.requests(gateway, bench.single(backbone))
    warm(gateway, requests)
    posts_s, runs_s, answers, floor_s = uvloop.run(_measure(gateway, requests, tower, images, pairs))
    difference_ms = (posts_s - runs_s) * 1000.0
    return {
        "backbone": backbone,
        "image_size": tower.image_size,
        "pairs": pairs,
        "threads": threads,
        "overhead_ms": spread(difference_ms),
        "aim_ms": AIM_MS,
        "aim_met": bool(np.median(difference_ms) <= AIM_MS),
        "post_ms": milliseconds(posts_s),
        "session_run_ms": milliseconds(runs_s),
        "server_timing_ms": server_timing_ms(answers),
        "http_floor_ms": milliseconds(floor_s),
        "decode_and_resize_here_ms": milliseconds(_decode_times_s(bench.jpegs, tower.image_size)),
        "gateway_peak_rss_mib": gateway.usage().peak_rss_mib,
    }


async def _measure(
    gateway: Gateway, requests: ClassifyRequests, tower: raw.RawTower, images: raw.Pixels, pairs: int
) -> tuple[np.ndarray, np.ndarray, list[Response], list[float]]:
    """Seconds per POST float64[pairs], per `session.run` float64[pairs], the answers, and seconds per `GET /healthz`.

    The order within a pair alternates: whoever comes second finds warmer caches.
    """
    pool = Pool("127.0.0.1", gateway.port)
    posts_s, runs_s, answers = np.empty(pairs), np.empty(pairs), []
    try:
        for number in range(-WARMUP_PAIRS, pairs):
            image = images[number % len(images)][None]
            first_s = _timed_run(tower, image) if number % 2 else 0.0
            answer, post_s = await timed_post(pool, requests.parts(number + WARMUP_PAIRS + 1))
            run_s = first_s or _timed_run(tower, image)
            if number >= 0:
                posts_s[number], runs_s[number] = post_s, run_s
                answers.append(answer)
        floor_s = [await _timed_get(pool) for _ in range(FLOOR_SAMPLES)]
    finally:
        pool.close()
    return posts_s, runs_s, answers, floor_s


def _timed_run(tower: raw.RawTower, image: raw.Pixels) -> float:
    started_s = time.perf_counter()
    tower.run(image)
    return time.perf_counter() - started_s


async def timed_post(pool: Pool, parts: Sequence[bytes]) -> tuple[Response, float]:
    """The answer and the seconds to it. Raises `GatewayError` when it is not a 200."""
    started_s = time.perf_counter()
    answer = await pool.request(parts, ANSWER_WITHIN_S)
    elapsed_s = time.perf_counter() - started_s
    if answer.status != 200:
        raise GatewayError(f"A request was answered with {answer.status}: {answer.body.decode()[:500]}")
    return answer, elapsed_s


async def _timed_get(pool: Pool) -> float:
    started_s = time.perf_counter()
    await fetch(pool, "/healthz")
    return time.perf_counter() - started_s


def _decode_times_s(jpegs: Sequence[bytes], size: int) -> list[float]:
    """Seconds per JPEG for a plain decode and resize in this process: the part of the overhead that is the image's."""
    times_s = []
    for jpeg in jpegs:
        started_s = time.perf_counter()
        raw.tensor(jpeg, size)
        times_s.append(time.perf_counter() - started_s)
    return times_s
