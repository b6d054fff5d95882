"""The playground's bundled samples and the script that makes them."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from PIL import Image
from pydantic import TypeAdapter
from typer.testing import CliRunner

from training import samples
from training.samples import Manifest, Sample, SampleError

pytestmark = pytest.mark.torch

PUBLIC_DOMAIN = '<cc:license rdf:resource="http://web.resource.org/cc/PublicDomain"/>'
FORBIDDEN_SOURCES = {"tiny_imagenet", "cifar100", "flickr8k", "coco_mini"}
MOST_BYTES = 400_000


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return samples.read_manifest(samples.SAMPLES_DIR)


def make_sample(**fields: str) -> Sample:
    chosen = {"file": "a.png", "name": "A", "alt": "An a", "source": "clothing", "original": "a", **fields}
    return Sample(labels=("a", "b"), **chosen)


def write_data(folder: Path, split: str) -> str:
    """A data folder with one clothing picture; returns its digest."""
    picture = b"picture of a shoe"
    row = {"image": [picture], "captions": [["a shoe"]], "label": ["shoe"], "split": [split], "source": ["clothing"]}
    pq.write_table(pa.table(row), folder / "clothing.parquet")
    return hashlib.sha256(picture).hexdigest()


def square(_svg: str, width: int) -> bytes:
    """A renderer that draws a wide blue box off the middle, whatever the drawing says."""
    picture = Image.new("RGBA", (width, width))
    picture.paste((0, 0, 255, 255), (width // 2, 0, width, width // 4))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def test_bundled_files_are_those_of_the_list_and_small(manifest: Manifest) -> None:
    files = {path.name: path.stat().st_size for path in samples.SAMPLES_DIR.iterdir()}
    assert set(files) == {sample.file for sample in manifest.samples} | {"samples.json", "ATTRIBUTION.md"}
    assert sum(files.values()) < MOST_BYTES


def test_bundled_photographs_are_the_very_bytes_that_the_list_names(manifest: Manifest) -> None:
    for sample in manifest.of_kind("photograph"):
        content = (samples.SAMPLES_DIR / sample.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sample.sha256, sample.file


def test_bundled_drawings_are_square_and_opaque(manifest: Manifest) -> None:
    for sample in (*manifest.of_kind("emoji"), *manifest.of_kind("clip art")):
        with Image.open(samples.SAMPLES_DIR / sample.file) as picture:
            assert (picture.mode, picture.size) == ("RGB", (256, 256)), sample.file


def test_every_sample_suggests_a_handful_of_labels_from_a_permitted_source(manifest: Manifest) -> None:
    assert 12 <= len(manifest.samples) <= 16
    assert not FORBIDDEN_SOURCES & set(manifest.sources)
    for sample in manifest.samples:
        assert 4 <= len(sample.labels) == len(set(sample.labels)) <= 8, sample.file
        assert sample.alt


def test_bundled_attribution_is_the_one_that_the_script_writes(manifest: Manifest) -> None:
    written = (samples.SAMPLES_DIR / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert written == samples.attribution(manifest)


def test_photographs_are_copied_byte_for_byte(tmp_path: Path) -> None:
    sample = make_sample(sha256=write_data(tmp_path, "test"))
    assert samples.photographs(tmp_path, [sample]) == {"a.png": b"picture of a shoe"}


def test_training_row_is_refused(tmp_path: Path) -> None:
    sample = make_sample(sha256=write_data(tmp_path, "train"))
    with pytest.raises(SampleError, match=r"a\.png: a is a training row of clothing"):
        samples.photographs(tmp_path, [sample])


def test_missing_photograph_is_named(tmp_path: Path) -> None:
    write_data(tmp_path, "test")
    with pytest.raises(SampleError, match=r"a\.png: no image of clothing has the digest 0000"):
        samples.photographs(tmp_path, [make_sample(sha256="0" * 64)])


def test_emoji_takes_its_own_box_or_the_packages(tmp_path: Path) -> None:
    icons = {"plain": {"body": "<path/>"}, "tall": {"body": "<g/>", "top": -2, "height": 20}}
    (tmp_path / "icons.json").write_text(json.dumps({"width": 12, "height": 14, "icons": icons}))
    assert 'viewBox="0 0 12 14"><path/></svg>' in samples.emoji_svg(tmp_path, make_sample(original="plain"))
    assert 'viewBox="0 -2 12 20"><g/></svg>' in samples.emoji_svg(tmp_path, make_sample(original="tall"))
    with pytest.raises(SampleError, match='has no icon "none"'):
        samples.emoji_svg(tmp_path, make_sample(original="none"))


def test_clip_art_must_call_itself_public_domain(tmp_path: Path) -> None:
    (tmp_path / "free.svg").write_text(f"<svg>{PUBLIC_DOMAIN}</svg>")
    (tmp_path / "other.svg").write_text("<svg/>")
    assert samples.clip_art_svg(tmp_path, make_sample(original="free.svg")).startswith("<svg>")
    with pytest.raises(SampleError, match="does not say that it is in the public domain"):
        samples.clip_art_svg(tmp_path, make_sample(original="other.svg"))
    with pytest.raises(SampleError, match="does not exist"):
        samples.clip_art_svg(tmp_path, make_sample(original="none.svg"))


def test_drawing_is_trimmed_and_centred_on_white() -> None:
    with Image.open(io.BytesIO(samples.drawing_png("<svg/>", square))) as picture:
        assert (picture.mode, picture.size) == ("RGB", (256, 256))
        assert picture.getpixel((128, 128)) == (0, 0, 255)
        box = (samples.DRAWING_MARGIN_PX, 72, 256 - samples.DRAWING_MARGIN_PX, 184)
        assert Image.eval(picture.getchannel("R"), lambda value: 255 - value).getbbox() == box


def test_everything_is_made_from_its_sources(tmp_path: Path, manifest: Manifest) -> None:
    out, data, art = tmp_path / "out", tmp_path / "data", tmp_path / "art"
    for folder in (out, data, art):
        folder.mkdir()
    digest = write_data(data, "test")
    (art / "free.svg").write_text(f"<svg>{PUBLIC_DOMAIN}</svg>")
    (art / "icons.json").write_text(json.dumps({"icons": {"dot": {"body": "<g/>"}}}))
    chosen = (
        make_sample(file="shoe.webp", sha256=digest),
        make_sample(file="dot.png", source="noto", original="dot"),
        make_sample(file="free.png", source="openclipart", original="free.svg", author="A. Nonymous"),
    )
    write_manifest(out, replace(manifest, samples=chosen))
    written = samples.make_samples(out, data=data, emoji=art, clip_art=art, render=square)
    assert written == ["ATTRIBUTION.md", "dot.png", "free.png", "shoe.webp"]
    assert "- `free.png` from `free.svg`, by A. Nonymous" in (out / "ATTRIBUTION.md").read_text(encoding="utf-8")
    assert samples.make_samples(out, data=None, emoji=None, clip_art=None) == ["ATTRIBUTION.md"]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    content = TypeAdapter(Manifest).dump_json(manifest)
    (folder / "samples.json").write_bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "samples.json"),
        ('{"sources": {}, "samples": [], "more": 1}', "more"),
        (
            '{"sources": {}, "samples": [{"file": "a", "name": "A", "alt": "a", "labels": [], "source": "x", '
            '"original": "a"}]}',
            'names the source "x"',
        ),
    ],
)
def test_malformed_list_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "samples.json").write_text(content)
    with pytest.raises(SampleError, match=message):
        samples.read_manifest(tmp_path)


def test_command_reports_an_error_in_one_sentence(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(samples.main)
    result = CliRunner().invoke(app, ["--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "samples.json: cannot be read" in result.stderr


def test_drawings_are_rendered_by_resvg() -> None:
    pytest.importorskip("resvg_py", reason="needs the package resvg-py: pip install resvg-py")
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"><path fill="#f00" d="M0 0h4v4H0z"/></svg>'
    with Image.open(io.BytesIO(samples.drawing_png(svg, samples.render_svg))) as picture:
        assert picture.getpixel((128, 128)) == (255, 0, 0)
        assert picture.getpixel((4, 4)) == (255, 255, 255)


def test_missing_renderer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(SampleError, match="resvg-py, which the extra `training` brings"):
        samples.render_svg("<svg/>", 8)
