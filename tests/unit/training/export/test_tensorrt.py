"""The variants for GPUs. No GPU runs here: what is tested is what Triton, trtexec and the gateway are given."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb
from typer.testing import CliRunner

from service.engines.triton.checks import difference
from service.repository import load_zoo
from tests.support.repository import write_repository
from training.cli import app
from training.export.errors import ExportError
from training.export.target import Target
from training.export.tensorrt import convert

pytestmark = pytest.mark.torch


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    write_repository(folder)
    (folder / "controllers.safetensors").write_bytes(b"beside the towers")
    return folder


@pytest.fixture
def trtexec(tmp_path: Path) -> Path:
    """Writes down how it was called, and an engine."""
    tool = tmp_path / "trtexec"
    tool.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/calls\n'
        'for each in "$@"; do case "$each" in --saveEngine=*) echo engine > "${each#--saveEngine=}";; esac; done\n'
    )
    tool.chmod(0o755)
    return tool


def configurations(repository: Path) -> dict[str, pb.ModelConfig]:
    return {
        path.parent.name: text_format.Parse(path.read_text("utf-8"), pb.ModelConfig())
        for path in repository.glob("*/config.pbtxt")
    }


def test_every_tower_is_handed_to_tensorrt_in_float16_with_a_cache_of_its_own(repository: Path, tmp_path: Path) -> None:
    list(convert(repository, tmp_path / "out", Target.TRITON_TENSORRT, "trtexec"))
    for name, model in configurations(tmp_path / "out").items():
        [accelerator] = model.optimization.execution_accelerators.gpu_execution_accelerator
        assert accelerator.name == "tensorrt"
        assert accelerator.parameters["precision_mode"] == "FP16"
        assert accelerator.parameters["trt_engine_cache_enable"] == "1"
        assert accelerator.parameters["trt_engine_cache_path"].endswith(f"/{name}")
        assert [group.kind for group in model.instance_group] == [pb.ModelInstanceGroup.KIND_GPU]


def test_profiles_span_every_batch_that_the_tower_takes(repository: Path, tmp_path: Path) -> None:
    list(convert(repository, tmp_path / "out", Target.TRITON_TENSORRT, "trtexec"))
    for model in configurations(tmp_path / "out").values():
        parameters = model.optimization.execution_accelerators.gpu_execution_accelerator[0].parameters
        dims = "x".join(map(str, model.input[0].dims))
        assert parameters["trt_profile_min_shapes"] == f"{model.input[0].name}:1x{dims}"
        assert parameters["trt_profile_max_shapes"] == f"{model.input[0].name}:{model.max_batch_size}x{dims}"


def test_engines_are_built_at_the_start_by_a_full_batch(repository: Path, tmp_path: Path) -> None:
    list(convert(repository, tmp_path / "out", Target.TRITON_TENSORRT, "trtexec"))
    for model in configurations(tmp_path / "out").values():
        assert [sample.batch_size for sample in model.model_warmup] == [model.max_batch_size]


@pytest.mark.parametrize("target", [Target.TRITON_TENSORRT, Target.TENSORRT_PLAN])
def test_the_gateway_takes_a_variant_for_the_repository_that_it_was_made_of(
    repository: Path, tmp_path: Path, trtexec: Path, target: Target
) -> None:
    list(convert(repository, tmp_path / "out", target, str(trtexec)))
    found = configurations(tmp_path / "out")
    for backbone in load_zoo(repository).backbones:
        for tower in (backbone.image, backbone.text):
            assert difference(tower, found[tower.name], "a server") is None
    assert len(load_zoo(tmp_path / "out").backbones) == len(load_zoo(repository).backbones)
    assert (tmp_path / "out" / "controllers.safetensors").read_bytes() == b"beside the towers"


def test_a_plan_is_what_trtexec_built_from_the_towers_graph(repository: Path, tmp_path: Path, trtexec: Path) -> None:
    list(convert(repository, tmp_path / "out", Target.TENSORRT_PLAN, str(trtexec)))
    calls = (tmp_path / "calls").read_text().splitlines()
    found = configurations(tmp_path / "out")
    assert len(calls) == len(found)
    for name, model in found.items():
        [call] = [call for call in calls if f"/{name}/1/model.onnx" in call]
        assert "--fp16" in call
        assert f"--maxShapes={model.input[0].name}:{model.max_batch_size}x" in call
        assert (model.platform, model.default_model_filename) == ("tensorrt_plan", "model.plan")
        assert (tmp_path / "out" / name / "1" / "model.plan").read_text() == "engine\n"


def test_a_tool_that_fails_is_quoted_and_nothing_half_made_is_left(repository: Path, tmp_path: Path) -> None:
    tool = tmp_path / "broken"
    tool.write_text("#!/bin/sh\necho 'no CUDA-capable device' >&2\nexit 3\n")
    tool.chmod(0o755)
    with pytest.raises(ExportError, match=r"(?s)status 3.*no CUDA-capable device"):
        list(convert(repository, tmp_path / "out", Target.TENSORRT_PLAN, str(tool)))
    assert not configurations(tmp_path / "out")


def test_a_missing_trtexec_is_said_with_where_it_comes_from(repository: Path, tmp_path: Path) -> None:
    arguments = ["export", str(repository), "--out", str(tmp_path / "out"), "--target", "tensorrt-plan"]
    result = CliRunner().invoke(app, [*arguments, "--trtexec", "/nowhere/trtexec"])
    assert result.exit_code == 1
    assert "comes with TensorRT" in result.output


def test_a_repository_is_never_turned_into_its_own_variant(repository: Path) -> None:
    arguments = ["export", str(repository), "--out", str(repository), "--target", "triton-tensorrt"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert "--out" in result.output


def test_the_command_makes_a_variant_of_a_repository_that_is_there(repository: Path, tmp_path: Path) -> None:
    arguments = ["export", str(repository), "--out", str(tmp_path / "out"), "--target", "triton-tensorrt"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert result.output.count("not run on a GPU") == len(configurations(tmp_path / "out"))
