"""A server that speaks Triton's protocol and says what a test wants, where a real one cannot be made to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from service.model_config import render_config
from service.repository import Zoo

Answer = Callable[[service_pb2.ModelInferRequest], service_pb2.ModelInferResponse | grpc.StatusCode]


class TritonDouble(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # the package has no types
    """Every tower of a zoo, answering `[1, 0, 0, …]` per row unless `answer` says otherwise. `address` is its own."""

    def __init__(self, zoo: Zoo) -> None:
        towers = [tower for backbone in zoo.backbones for tower in (backbone.image, backbone.text)]
        self.configs = {
            tower.name: text_format.Parse(render_config(tower.config), model_config_pb2.ModelConfig())
            for tower in towers
        }
        self.answer: Answer = self.unit_rows
        self.batches: list[int] = []
        """Rows of every call, in order."""
        self.address = ""

    def unit_rows(self, request: service_pb2.ModelInferRequest) -> service_pb2.ModelInferResponse:
        rows, width = request.inputs[0].shape[0], self.configs[request.model_name].output[0].dims[0]
        return answer_of(np.tile(np.eye(1, width, dtype=np.float32), (rows, 1)))

    async def ServerLive(  # noqa: N802  # the protocol's name
        self, _: service_pb2.ServerLiveRequest, __: grpc.aio.ServicerContext
    ) -> service_pb2.ServerLiveResponse:
        return service_pb2.ServerLiveResponse(live=True)

    async def ModelConfig(  # noqa: N802  # the protocol's name
        self, request: service_pb2.ModelConfigRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ModelConfigResponse:
        if request.name not in self.configs:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        return service_pb2.ModelConfigResponse(config=self.configs[request.name])

    async def ModelInfer(  # noqa: N802  # the protocol's name
        self, request: service_pb2.ModelInferRequest, context: grpc.aio.ServicerContext
    ) -> service_pb2.ModelInferResponse:
        self.batches.append(request.inputs[0].shape[0])
        answer = self.answer(request)
        if isinstance(answer, grpc.StatusCode):
            await context.abort(answer, "a secret of the server")
        return answer


def answer_of(rows: np.ndarray, name: str = "embedding", datatype: str = "FP32") -> service_pb2.ModelInferResponse:
    response = service_pb2.ModelInferResponse()
    response.outputs.add(name=name, datatype=datatype, shape=rows.shape)
    response.raw_output_contents.append(rows.tobytes())
    return response


@asynccontextmanager
async def triton_double(zoo: Zoo, kind: type[TritonDouble] = TritonDouble) -> AsyncIterator[TritonDouble]:
    double = kind(zoo)
    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(double, server)
    double.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield double
    finally:
        await server.stop(None)
