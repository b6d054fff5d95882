"""Memory limits: what a gateway takes at worst for images fits, and whoever gives it less is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from service.settings import Settings
from tests.support.chart import ROOT, VALUES_FILES, notes, render
from tests.support.manifests import Release, quantity

BYTES_OF_A_PIXEL = 13
"""Counted by `quorum.tooLittleMemory`."""
BEFORE_REQUESTS = 300e6
SIDE = 3000
DECODE = """
import re, sys
from pathlib import Path
from service.pipeline.inputs.decode import ImageLimits, decode
def peak():  # of this process since its program began
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
data = Path(sys.argv[1]).read_bytes()
before = peak()
decode(data, ImageLimits(len(data), 10**9), 224)
print(peak() - before)
"""


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "I;16"])
def test_a_pixel_takes_no_more_than_is_counted_for_it(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    lying = Image.Exif()
    lying[0x0112] = 6
    Image.new(mode, (SIDE, SIDE)).save(path, exif=lying)
    done = subprocess.run(
        [sys.executable, "-c", DECODE, str(path)], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT
    )
    assert 4 < int(done.stdout) / SIDE**2 < BYTES_OF_A_PIXEL * 1.05


@pytest.mark.parametrize("files", [(), *((name,) for name in VALUES_FILES)], ids=lambda files: "".join(files))
def test_the_largest_images_on_all_threads_kill_no_gateway(files: tuple[str, ...]) -> None:
    release = Release(render({}, *files))
    (pod,) = release.of_component("gateway")
    (container,) = pod.containers
    fields = Settings.model_fields
    images = int(release.environment(container)["QUORUM_DECODE_THREADS"]) * fields["max_image_pixels"].default
    caches = fields["cache_max_bytes"].default + fields["label_cache_max_bytes"].default
    limit = quantity(container["resources"]["limits"]["memory"])
    assert limit > images * BYTES_OF_A_PIXEL + caches + BEFORE_REQUESTS
    assert "MAX_IMAGE_PIXELS" not in notes({}, *files)


@pytest.mark.parametrize(
    ("gateway", "warned"),
    [
        ({"resources": {"limits": {"memory": "1Gi"}}}, True),
        ({"resources": {"limits": {"memory": 2_200_000_000}}}, False),
        ({"resources": {"limits": {"cpu": "4"}}}, True),
        ({"resources": {"limits": {"cpu": "4"}}, "settings": {"DECODE_THREADS": 2}}, False),
        ({"resources": {"limits": {"memory": "1Gi"}}, "settings": {"MAX_IMAGE_PIXELS": 8_000_000}}, False),
        ({"settings": {"CACHE_MAX_BYTES": 2_000_000_000}}, True),
        ({"resources": {"limits": None}}, False),
    ],
)
def test_whoever_gives_less_is_told(gateway: dict[str, object], warned: bool) -> None:
    assert ("Images of MAX_IMAGE_PIXELS on all of" in notes({"gateway": gateway})) is warned
