"""Single calls on a gallery, whose answers must be good ones."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import uvloop

from loadtest.connection import Pool, Response
from loadtest.gateway import HOST, Gateway, GatewayError
from loadtest.payload import get
from loadtest.scenarios.bench import ANSWER_WITHIN_S
from loadtest.scenarios.gallery_payload import Parts, call

POLL_S = 0.02
READY_WITHIN_S = 300.0
BUSY = (503, 504)
"""Try again."""


def ask(gateway: Gateway, parts: Parts) -> dict[str, Any]:
    """The answer's JSON. Raises `GatewayError` with the answer when it is none of the good ones."""
    return read(uvloop.run(send(gateway, parts)))


def read(answer: Response) -> dict[str, Any]:
    if answer.status not in (200, 201):
        raise GatewayError(f"A call was answered with {answer.status}: {answer.body.decode()[:500]}")
    return dict(json.loads(answer.body))


async def send(gateway: Gateway, parts: Parts) -> Response:
    pool = Pool(HOST, gateway.port)
    try:
        return await pool.request(parts, ANSWER_WITHIN_S)
    finally:
        pool.close()


def create(gateway: Gateway, gallery: str, definition: Mapping[str, Any]) -> dict[str, Any]:
    return ask(gateway, call("PUT", f"/v1/galleries/{gallery}", gateway.address, definition))


def wait_until_ready(gateway: Gateway, gallery: str) -> tuple[dict[str, Any], int]:
    """The gallery's details once it is ready, and how often it was too busy to say (503, 504).

    Raises `GatewayError` when it fails or takes too long.
    """
    busy, started_s = 0, time.perf_counter()
    while time.perf_counter() - started_s < READY_WITHIN_S:
        answer = uvloop.run(send(gateway, get(f"/v1/galleries/{gallery}", gateway.address)))
        if answer.status in BUSY:
            busy += 1
        elif (found := read(answer))["state"] == "ready":
            return found, busy
        elif found["state"] != "loading":
            raise GatewayError(f"Gallery {gallery} is {found['state']}.")
        time.sleep(POLL_S)
    raise GatewayError(f"Gallery {gallery} was not ready after {READY_WITHIN_S:.0f} s.")


def send_all(gateway: Gateway, calls: Iterator[Parts], in_flight: int) -> list[tuple[dict[str, Any], float]]:
    """Every call's answer and its seconds, in order of arrival. Raises `GatewayError` for the first bad answer."""
    answers: list[tuple[dict[str, Any], float]] = []

    async def worker(pool: Pool) -> None:
        for parts in calls:
            started_s = time.perf_counter()
            answer = await pool.request(parts, ANSWER_WITHIN_S)
            answers.append((read(answer), time.perf_counter() - started_s))

    async def apply() -> None:
        pool = Pool(HOST, gateway.port)
        try:
            await asyncio.gather(*(worker(pool) for _ in range(in_flight)))
        finally:
            pool.close()

    uvloop.run(apply())
    return answers


def until_answered(gateway: Gateway, parts: Parts) -> int:
    """Ask again and again until the answer is a 200; how many were not. Raises `GatewayError` when none ever is."""

    async def apply() -> int:
        pool, refused, started_s = Pool(HOST, gateway.port), 0, time.perf_counter()
        try:
            while (answer := await pool.request(parts, ANSWER_WITHIN_S)).status != 200:
                refused += 1
                if answer.status not in BUSY or time.perf_counter() - started_s > READY_WITHIN_S:
                    read(answer)
                await asyncio.sleep(POLL_S)
        finally:
            pool.close()
        return refused

    return uvloop.run(apply())


def folder_bytes(folder: Path) -> int:
    """Of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
