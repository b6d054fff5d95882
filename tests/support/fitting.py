"""Label sets of a served application that something is fitted for, by calls or by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from fastapi import FastAPI

from service.api.services import Services
from service.policies import ArtefactKind
from service.stores.base import ArtefactContent, ArtefactVersion, Job
from tests.conftest import served
from tests.support.api import LABELS, classify
from tests.support.fitted import cascade_content, controller_content
from tests.support.images import as_base64, jpeg
from tests.support.jobs import FINAL, Gated, until
from tests.support.state import CARS

URL = "/v1/label-sets/pets"
PICTURES = [jpeg(seed=seed) for seed in range(64)]


def examples_call(images: Sequence[bytes | str], labels: Sequence[str], **fields: Any) -> dict[str, Any]:
    """A fit in JSON."""
    pairs = zip(images, labels, strict=True)
    return {"examples": [{"data": _text(image), "label": label} for image, label in pairs], **fields}


def images_call(images: Sequence[bytes | str], **fields: Any) -> dict[str, Any]:
    """A calibration in JSON."""
    return {"images": [{"data": _text(image)} for image in images], **fields}


def _text(image: bytes | str) -> str:
    return image if isinstance(image, str) else as_base64(image)


@dataclass(frozen=True)
class Api:
    """A served application with a label set `pets`."""

    client: httpx2.AsyncClient
    services: Services

    async def fit(self, images: Sequence[bytes | str], labels: Sequence[str], **fields: Any) -> dict[str, Any]:
        return await self.post("controller", examples_call(images, labels, **fields))

    async def calibrate(self, images: Sequence[bytes | str], **fields: Any) -> dict[str, Any]:
        return await self.post("cascade", images_call(images, **fields))

    async def post(self, kind: ArtefactKind, body: dict[str, Any]) -> dict[str, Any]:
        """The job that a call began, as its answer shows it."""
        response = await self.client.post(f"{URL}/{kind}", json=body)
        assert response.status_code == 202, response.text
        return dict(response.json())

    async def job(self, job: dict[str, Any]) -> dict[str, Any]:
        return dict((await self.client.get(f"/v1/jobs/{job['id']}")).json())

    async def ended(self, job: dict[str, Any]) -> dict[str, Any]:
        async def over() -> bool:
            return (await self.job(job))["state"] in FINAL

        await until(over)
        return await self.job(job)

    async def succeeded(self, job: dict[str, Any]) -> dict[str, Any]:
        """Its result."""
        ended = await self.ended(job)
        assert ended["state"] == "succeeded", ended
        return dict(ended["result"])

    async def begun(self, job: dict[str, Any]) -> None:
        async def running() -> bool:
            return bool((await self.job(job))["state"] == "running")

        await until(running)

    async def occupied(self) -> tuple[Gated, Job]:
        """Something else that the runner is busy with, until its gate is opened."""
        stored = await self.services.label_sets.put("others", CARS)
        gated = Gated()
        job = await self.services.runner.submit(stored, "controller", gated, request_id="other")
        await gated.has_begun()
        return gated, job

    async def store(self, kind: ArtefactKind, content: ArtefactContent) -> ArtefactVersion:
        """As a job would, without the work."""
        stored = await self.services.label_sets.get("pets")
        assert stored is not None
        return await self.services.artefacts.put("pets", kind, stored.label_set.digest, content)

    async def controller(self, *weights: float) -> ArtefactVersion:
        """One that gives every image the same `weights` of small and large."""
        return await self.store("controller", controller_content(self.services.zoo, *weights))

    async def cascade(self, *thresholds: float, controller: str | None = None) -> ArtefactVersion:
        """small, then large, unless the score of small reaches the threshold."""
        return await self.store("cascade", cascade_content(self.services.zoo, *thresholds, controller=controller))

    async def answers(self, images: Sequence[bytes] = PICTURES[:4], **fields: Any) -> list[dict[str, Any]]:
        """Results for `images` with the label set."""
        return list((await classify(self.client, *images, label_set="pets", **fields))["results"])

    async def policy(self) -> tuple[str, str | None]:
        """How a request that wishes nothing is answered: policy and controller."""
        (result,) = await self.answers(PICTURES[:1])
        return result["policy"], result["controller"]

    async def said_by(self, backbone: str, images: Sequence[bytes]) -> list[str]:
        """What one backbone says alone: labels that can be learnt to be right, though the images mean nothing."""
        return await self.said(images, policy="single", backbones=[backbone])

    async def said(self, images: Sequence[bytes], **fields: Any) -> list[str]:
        """The top labels of `images`."""
        parts = [images[start : start + 32] for start in range(0, len(images), 32)]
        asked = [self.answers(part, top_k=1, **fields) for part in parts]
        return [result["predictions"][0]["label"] for part in await asyncio.gather(*asked) for result in part]


@asynccontextmanager
async def pets_on(app: FastAPI) -> AsyncIterator[Api]:
    """`app` served, with the label set that the others know as `pets`."""
    async with served(app) as client:
        if (await client.get(URL)).status_code == 404:
            assert (await client.put(URL, json={"labels": LABELS})).status_code == 201
        yield Api(client, app.state.services)
