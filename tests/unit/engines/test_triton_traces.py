"""What a Triton server is told of a request's trace: whose child its work is, and whether anybody records it."""

from __future__ import annotations

import grpc
import pytest
from tritonclient.grpc import service_pb2

from service.deadline import Deadline
from service.engines.base import Row
from service.engines.triton import TritonEngine, TritonOptions
from service.repository import Zoo
from service.trail import SILENT, SilentSpan, on_behalf_of
from tests.support.pipeline import Observations
from tests.support.triton_double import TritonDouble, triton_double
from tests.unit.engines.test_triton import images

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


class Overhearing(TritonDouble):
    def __init__(self, zoo: Zoo) -> None:
        super().__init__(zoo)
        self.heard: list[str | bytes | None] = []

    async def ModelInfer(  # noqa: N802  # the protocol's name
        self, request: service_pb2.ModelInferRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ModelInferResponse:
        self.heard.append(dict(context.invocation_metadata() or ()).get("traceparent"))
        return await super().ModelInfer(request, context)


@pytest.mark.parametrize(
    ("span", "heard"), [(SILENT, None), (SilentSpan(PARENT), PARENT)], ids=["nobody traces", "not sampled"]
)
async def test_a_server_is_told_the_span_that_asks_it(fake_zoo: Zoo, span: SilentSpan, heard: str | None) -> None:
    rows: list[Row] = images(2)
    async with triton_double(fake_zoo, Overhearing) as double:
        assert isinstance(double, Overhearing)
        engine = TritonEngine(fake_zoo, TritonOptions((double.address,), start_wait_s=10, max_rows=8), Observations())
        await engine.start()
        try:
            with on_behalf_of(span):
                await engine.embed("small_image", rows, Deadline.after(10))
        finally:
            await engine.close()
        assert double.heard == [heard]
