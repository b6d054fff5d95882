"""The foreground expert, with a network of one line in place of the real one."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from training.data.builders.packages import Package
from training.experts.errors import ExpertError
from training.experts.known import load_expert
from training.experts.protocol import Kind, check_maps
from training.experts.ready_made.foreground import Foreground, Weights, load_foreground, read_network

pytestmark = pytest.mark.torch

SIDE = 16


def bright_network(side: int = SIDE, channels: int = 3) -> bytes:
    """Calls foreground what is bright: the sigmoid of 32 times a pixel's mean over the channels."""
    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, channels, side, side])
    answer = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1, side, side])
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "steep"], ["steeper"]),
        helper.make_node("Sigmoid", ["steeper"], ["output"]),
    ]
    steep = helper.make_tensor("steep", TensorProto.FLOAT, [], [32.0])
    graph = helper.make_graph(nodes, "bright", [given], [answer], [steep])
    content: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8
    ).SerializeToString()
    return content


def packed(cache: Path, network: bytes, *, key: str = "/models/tiny") -> Weights:
    """A package in `cache` that has the network in two pieces, the later one first in its table."""
    pieces = {"b" * 8: network[100:], "a" * 8: network[:100]}
    table = {
        key: {"chunks": [{"hash": "b" * 8, "offsets": [100, 999]}, {"hash": "a" * 8, "offsets": [0, 100]}]},
    }
    archive = cache / "toy-1.0.0.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name, content in {"resources.json": json.dumps(table).encode(), **pieces}.items():
            info = tarfile.TarInfo(f"package/dist/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    package = Package("npm", "toy", "1.0.0", hashlib.sha256(archive.read_bytes()).hexdigest())
    return Weights(package, "/models/tiny", hashlib.sha256(network).hexdigest())


def half_bright(height: int = 24, width: int = 40) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """uint8[h, w, 3], white on the right half."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:, width // 2 :] = 255
    return image


def test_every_picture_gets_a_map_of_its_own_size(tmp_path: Path) -> None:
    expert = load_foreground(tmp_path, weights=packed(tmp_path, bright_network()))
    images = np.stack([half_bright(), half_bright()[:, ::-1]])
    maps = expert(images)
    check_maps(maps, images, expert.identity)
    np.testing.assert_array_equal(maps, images[..., 0] // 255)


def test_certainty_lies_between_the_classes_only_along_the_outline(tmp_path: Path) -> None:
    certainty = load_foreground(tmp_path, weights=packed(tmp_path, bright_network())).certainty(half_bright())
    assert certainty.shape == (24, 40)
    assert certainty[:, :16].max() < 0.01
    assert certainty[:, 24:].min() > 0.99


def test_the_identity_names_package_network_and_threshold(tmp_path: Path) -> None:
    weights = packed(tmp_path, bright_network())
    identity = load_foreground(tmp_path, weights=weights).identity
    assert (identity.name, identity.kind, identity.classes) == (
        "foreground",
        Kind.CLASSES,
        ("background", "foreground"),
    )
    assert identity.version == "toy 1.0.0 tiny, threshold 0.5"
    assert identity.digest == weights.sha256


def test_pieces_are_put_together_once(tmp_path: Path) -> None:
    weights = packed(tmp_path, bright_network())
    assert read_network(tmp_path, weights) == bright_network()
    (tmp_path / weights.package.file_name).unlink()
    assert read_network(tmp_path, weights) == bright_network()
    assert (tmp_path / weights.file_name).read_bytes() == bright_network()


def test_a_cache_may_be_shared_and_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = packed(tmp_path, bright_network())
    read_network(tmp_path, weights)
    assert (tmp_path / weights.file_name).stat().st_mode & 0o777 == 0o644
    (tmp_path / weights.file_name).unlink()
    monkeypatch.setattr("tempfile.NamedTemporaryFile", _refuse)
    assert read_network(tmp_path, weights) == bright_network()


def _refuse(**_: object) -> None:
    raise PermissionError("read only")


def test_what_was_checked_is_what_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = packed(tmp_path, bright_network())
    path = tmp_path / weights.file_name
    read_network(tmp_path, weights)
    checked = hashlib.sha256

    def replace_after(content: bytes) -> object:
        path.write_bytes(b"somebody else's")
        return checked(content)

    monkeypatch.setattr("training.experts.ready_made.foreground.hashlib.sha256", replace_after)
    assert load_foreground(tmp_path, weights=weights).identity.digest == weights.sha256


def test_a_spoilt_network_in_the_cache_is_made_anew(tmp_path: Path) -> None:
    weights = packed(tmp_path, bright_network())
    read_network(tmp_path, weights)
    (tmp_path / weights.file_name).write_bytes(b"spoilt")
    assert read_network(tmp_path, weights) == bright_network()
    assert (tmp_path / weights.file_name).read_bytes() == bright_network()


def test_a_package_that_cannot_be_fetched_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = packed(tmp_path, bright_network())
    monkeypatch.setenv("PATH", str(tmp_path / "without-npm"))
    with pytest.raises(ExpertError, match=r"^the weights of foreground cannot be fetched: npm is not installed") as why:
        read_network(tmp_path / "empty", weights)
    assert "\n" not in str(why.value)


def test_it_is_loaded_by_name_and_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ExpertError, match=r"^the weights of foreground cannot be fetched: .*imgly-background-removal"):
        load_expert("foreground", weights=tmp_path)


def test_an_archive_other_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    weights = packed(tmp_path, bright_network())
    (tmp_path / weights.package.file_name).write_bytes(b"something else")
    with pytest.raises(ExpertError, match="is not the pinned"):
        read_network(tmp_path, weights)


def test_a_package_without_the_network_is_refused(tmp_path: Path) -> None:
    weights = packed(tmp_path, bright_network(), key="/models/other")
    with pytest.raises(ExpertError, match="has no /models/tiny in pieces that can be read"):
        read_network(tmp_path, weights)


def test_pieces_that_make_another_network_are_refused(tmp_path: Path) -> None:
    weights = packed(tmp_path, bright_network())
    other = Weights(weights.package, weights.key, "0" * 64)
    with pytest.raises(ExpertError, match=r"of /models/tiny is not the pinned 0{12}"):
        read_network(tmp_path, other)
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"no network", "cannot be loaded"), (bright_network(channels=1), "is no network for the foreground")],
)
def test_bytes_of_no_such_network_are_refused(content: bytes, sentence: str) -> None:
    with pytest.raises(ExpertError, match=sentence):
        Foreground(content, "made up")


def test_the_made_up_network_is_a_valid_one() -> None:
    onnx.checker.check_model(onnx.load_from_string(bright_network()))
