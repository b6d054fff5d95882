"""Whether Triton serves the very towers that the gateway's own model repository holds.

Embeddings of other weights look like any others. So nothing that a server says is used before its configuration,
digests included, was found to be the repository's.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from service.model_config import PREFIX, render_config
from service.repository import ImageTower, TextTower

VERSION = "1"
"""The folder of `1/model.onnx`: by itself Triton would serve the newest version that it finds."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one server has of one tower. `difference` names the tower, the key and both values."""

    loaded: bool
    difference: str | None = None

    @property
    def good(self) -> bool:
        return self.loaded and self.difference is None


def difference(tower: ImageTower | TextTower, reported: pb.ModelConfig, server: str) -> str | None:
    """The first way in which the configuration that `server` reports is not the repository's; None if there is none."""
    expected = _facts(text_format.Parse(render_config(tower.config), pb.ModelConfig()))
    found = _facts(reported)
    for key in [*expected, *(key for key in found if key not in expected)]:
        ours, theirs = expected.get(key, "nothing"), found.get(key, "nothing")
        if not _same(ours, theirs):
            return (
                f"{tower.name}: {key} is {theirs} on Triton at {server}, and {ours} in this server's model repository"
            )
    return None


def _facts(model: pb.ModelConfig) -> dict[str, str]:
    """Everything that an embedding depends on; how fast it comes (instances, batching) is the server's own matter."""
    facts = {"name": model.name, "max_batch_size": str(model.max_batch_size)}
    for kind, tensors in (("input", model.input), ("output", model.output)):
        facts[kind] = ", ".join(
            f'"{each.name}" {pb.DataType.Name(each.data_type)} {list(each.dims)}' for each in tensors
        )
    quorum = {key: entry.string_value for key, entry in model.parameters.items() if key.startswith(PREFIX)}
    return facts | dict(sorted(quorum.items()))


def _same(ours: str, theirs: str) -> bool:
    """Equal as text, or as numbers: a file may say 1.50 where its parsed form says 1.5."""
    if ours == theirs:
        return True
    try:
        return [float(part) for part in ours.split(",")] == [float(part) for part in theirs.split(",")]
    except ValueError:
        return False
