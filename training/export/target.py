"""What a model repository is written for."""

from enum import StrEnum


class Target(StrEnum):
    """Every engine; NVIDIA's Triton with TensorRT under ONNX Runtime; with engines that `trtexec` built."""

    TRITON = "triton"
    TRITON_TENSORRT = "triton-tensorrt"
    TENSORRT_PLAN = "tensorrt-plan"
