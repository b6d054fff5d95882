"""A model repository for GPUs out of one that is there: the same graphs, run by TensorRT in NVIDIA's Triton.

Two ways, neither of which has been run on a GPU yet. `accelerated` leaves each tower with Triton's ONNX Runtime
backend and has that hand its graph to TensorRT, which builds engines when the server starts and keeps them in a cache.
`planned` is for engines that TensorRT's own tool `trtexec` builds beforehand, on the very kind of GPU that is to serve
them. The `quorum.` keys stay, the digest of `1/model.onnx` among them, so the gateway's checks hold; float16
moves embeddings a little, which no digest tells. The accelerator's keys are those of Triton's `onnxruntime_backend`.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from service.repository import load_zoo
from training.export.errors import ExportError
from training.export.repository import replace_folders
from training.export.target import Target

ENGINE_CACHE: Final = PurePosixPath("/var/cache/quorum/tensorrt")
"""Where servers keep engines, a folder per tower: a volume that outlives the container, or each start builds anew."""

TYPICAL_ROWS: Final = 8
"""The batch that engines are tuned for; every size from 1 to `max_batch_size` runs."""

WORKSPACE_BYTES: Final = 1 << 30
GRAPH, PLAN = "model.onnx", "model.plan"


@dataclass(frozen=True)
class Shapes:
    """The batches that an engine takes, as TensorRT writes them: `image:8x64x64x3`."""

    smallest: str
    typical: str
    largest: str

    @classmethod
    def of(cls, model: pb.ModelConfig) -> "Shapes":
        largest = max(1, model.max_batch_size)
        return cls(*(_shape(model, rows) for rows in (1, min(TYPICAL_ROWS, largest), largest)))


def _shape(model: pb.ModelConfig, rows: int) -> str:
    return ",".join(f"{each.name}:{'x'.join(map(str, [rows, *each.dims]))}" for each in model.input)


def accelerated(config: str) -> str:
    """A tower's `config.pbtxt` with TensorRT as its ONNX Runtime backend's accelerator: float16, cached."""
    model = _on_gpu(config)
    shapes = Shapes.of(model)
    accelerator = model.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
    accelerator.parameters.update(
        {
            "precision_mode": "FP16",
            # Squares of float16 overflow, and a tower's last layers are norms.
            "trt_layer_norm_fp32_fallback": "1",
            "max_workspace_size_bytes": str(WORKSPACE_BYTES),
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(ENGINE_CACHE / model.name),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(ENGINE_CACHE / model.name),
            "trt_profile_min_shapes": shapes.smallest,
            "trt_profile_opt_shapes": shapes.typical,
            "trt_profile_max_shapes": shapes.largest,
        }
    )
    return str(text_format.MessageToString(model))


def planned(config: str) -> str:
    """A tower's `config.pbtxt` for Triton's TensorRT backend and an engine `1/model.plan`."""
    model = _on_gpu(config)
    model.platform, model.default_model_filename = "tensorrt_plan", PLAN
    return str(text_format.MessageToString(model))


def plan_command(config: str, folder: Path, trtexec: str) -> list[str]:
    """What builds `1/model.plan` of the tower in `folder`."""
    shapes = Shapes.of(text_format.Parse(config, pb.ModelConfig()))
    return [
        trtexec,
        f"--onnx={folder / '1' / GRAPH}",
        f"--saveEngine={folder / '1' / PLAN}",
        "--fp16",
        f"--minShapes={shapes.smallest}",
        f"--optShapes={shapes.typical}",
        f"--maxShapes={shapes.largest}",
        f"--memPoolSize=workspace:{WORKSPACE_BYTES >> 20}M",
        "--skipInference",
    ]


def _on_gpu(config: str) -> pb.ModelConfig:
    model: pb.ModelConfig = text_format.Parse(config, pb.ModelConfig())
    for group in model.instance_group:
        group.kind = pb.ModelInstanceGroup.KIND_GPU
    # Engines are built by the batch that first needs them: at the start, and for the largest that there will be.
    for sample in model.model_warmup:
        sample.batch_size = max(1, model.max_batch_size)
    return model


def is_repository(path: Path) -> bool:
    return any(path.glob("*_image/config.pbtxt"))


def convert(source: Path, out: Path, target: Target, trtexec: str) -> Iterator[str]:
    """Write the model repository `source`, what lies beside its towers included, into `out` for a GPU; yields a line on
    each tower.

    `trtexec` is needed for `TENSORRT_PLAN` alone. Raises `RepositoryError` for a repository that the gateway would
    refuse, `ExportError` where nothing can be written or an engine cannot be built; towers finished before are there.
    """
    if source.resolve() == out.resolve():
        raise ExportError(f"{out}: is the repository itself; write the variant into another folder (--out).")
    if target is Target.TENSORRT_PLAN:
        yield from _plan(source, out, trtexec)
    else:
        yield from _accelerate(source, out)
    for path in sorted(source.iterdir()):
        if path.is_file():
            shutil.copyfile(path, out / path.name)


def _accelerate(source: Path, out: Path) -> Iterator[str]:
    """Write the towers of `source` into `out`, `accelerated`."""
    for folder in _towers(source):
        replace_folders(out, {folder.name: _contents(folder, accelerated)})
        yield f"{out / folder.name}: TensorRT in float16 through ONNX Runtime; not run on a GPU by this project"


def _plan(source: Path, out: Path, trtexec: str) -> Iterator[str]:
    """Write the towers of `source` into `out`, `planned`, each with its engine built here and now."""
    if shutil.which(trtexec) is None:
        raise ExportError(
            f"{trtexec}: not found. It comes with TensorRT: run this on a GPU of the kind that will serve, in NVIDIA's "
            "TensorRT image, or name it with --trtexec."
        )
    for folder in _towers(source):
        replace_folders(out, {folder.name: _contents(folder, planned) | {f"1/{PLAN}": _build(folder, trtexec)}})
        yield f"{out / folder.name}: engine of {folder.name} in float16, for GPUs like this machine's alone"


def _build(folder: Path, trtexec: str) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) / folder.name
        (work / "1").mkdir(parents=True)
        shutil.copyfile(folder / "1" / GRAPH, work / "1" / GRAPH)
        command = plan_command((folder / "config.pbtxt").read_text("utf-8"), work, trtexec)
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        plan = work / "1" / PLAN
        if ended.returncode or not plan.exists():
            last = "\n".join((ended.stderr or ended.stdout).strip().splitlines()[-5:])
            raise ExportError(f"{folder.name}: {trtexec} ended with status {ended.returncode}:\n{last}")
        return plan.read_bytes()


def _towers(source: Path) -> list[Path]:
    zoo = load_zoo(source)  # digests included: an engine of another graph would pass as this one
    return [source / tower.name for backbone in zoo.backbones for tower in (backbone.image, backbone.text)]


def _contents(folder: Path, render: Callable[[str], str]) -> dict[str, bytes]:
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    config = files["config.pbtxt"].decode("utf-8")
    return files | {"config.pbtxt": render(config).encode("utf-8")}
