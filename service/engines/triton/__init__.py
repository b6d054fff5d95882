"""The same towers on NVIDIA's Triton, over gRPC."""

from service.engines.triton.engine import TritonEngine, TritonOptions

__all__ = ["TritonEngine", "TritonOptions"]
