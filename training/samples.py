"""Re-makes the playground's sample images from the places they come from.

`samples.json`, beside the images, is the list: what each sample is called and shows, which labels it suggests, where it
comes from and under which licence. This script makes the pictures and `ATTRIBUTION.md` that belong to it:

    python -m training.samples --data DATA --emoji NOTO --clip-art OPENCLIPART

DATA holds Parquet files (see `training.data.sources`), NOTO is the unpacked npm package `@iconify-json/noto`,
OPENCLIPART the folder `svg` of Debian's package `openclipart-svg`. Each of the three may be left out: its samples stay
as they are. Photographs are copied byte for byte, and from test rows only: no tower has been trained on them.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer
from PIL import Image
from pydantic import ConfigDict, TypeAdapter, ValidationError

from training.data.sources import read_rows

SAMPLES_DIR = Path(__file__).resolve().parents[1] / "service" / "playground" / "samples"
DRAWING_SIZE_PX = 256
DRAWING_MARGIN_PX = 16
SUPERSAMPLING = 3  # drawings are rendered larger, trimmed to their ink, then reduced

Renderer = Callable[[str, int], bytes]
"""(SVG text, width in pixels) → PNG bytes with transparency."""


class SampleError(ValueError):
    """A sample cannot be made; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where samples come from. `notice` is a text that the licence wants beside every copy."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    title: str
    kind: Literal["photograph", "emoji", "clip art"]
    licence: Literal["CC0-1.0", "MIT", "Apache-2.0", "public domain"]
    attribution: str
    changes: str
    notice: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One bundled image. `original` is its name at the source; `sha256` (photographs) that of the image's bytes."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    file: str
    name: str
    alt: str
    labels: tuple[str, ...]
    source: str
    original: str
    author: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """All of `samples.json`, in the order in which the page shows the samples."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    sources: dict[str, Source]
    samples: tuple[Sample, ...]

    def of_kind(self, kind: str) -> tuple[Sample, ...]:
        return tuple(sample for sample in self.samples if self.sources[sample.source].kind == kind)


def read_manifest(folder: Path) -> Manifest:
    """`samples.json` in `folder`. Raises `SampleError` if it is missing, malformed or names an unknown source."""
    path = folder / "samples.json"
    try:
        manifest = TypeAdapter(Manifest).validate_json(path.read_bytes())
    except OSError as error:
        raise SampleError(f"{path}: cannot be read") from error
    except ValidationError as error:
        raise SampleError(f"{path}: {error}") from error
    for sample in manifest.samples:
        if sample.source not in manifest.sources:
            raise SampleError(f'{path}: {sample.file} names the source "{sample.source}", which is not listed')
    return manifest


def photographs(data_dir: Path, samples: Iterable[Sample]) -> dict[str, bytes]:
    """File name → encoded bytes, as they lie in the Parquet files.

    Raises `SampleError` for an image that is not there, or is not a test row.
    """
    wanted = {sample.sha256: sample for sample in samples}
    found: dict[str, bytes] = {}
    for row in read_rows(data_dir, sorted({sample.source for sample in wanted.values()})):
        sample = wanted.get(row.digest)
        if sample is None or sample.source != row.source:
            continue
        if not row.test:
            raise SampleError(f"{sample.file}: {sample.original} is a training row of {row.source}; take a test row")
        found[sample.file] = row.image
    for sample in wanted.values():
        if sample.file not in found:
            raise SampleError(f"{sample.file}: no image of {sample.source} has the digest {sample.sha256[:12]}…")
    return found


def emoji_svg(package: Path, sample: Sample) -> str:
    """The icon called `sample.original` in an unpacked Iconify JSON package, as a document of its own."""
    icons = json.loads((package / "icons.json").read_text(encoding="utf-8"))
    icon = icons["icons"].get(sample.original)
    if icon is None:
        raise SampleError(f'{sample.file}: {package} has no icon "{sample.original}"')
    left, top = icon.get("left", 0), icon.get("top", 0)
    width, height = (icon.get(key, icons.get(key, 16)) for key in ("width", "height"))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
    )


def clip_art_svg(folder: Path, sample: Sample) -> str:
    """The drawing at `sample.original` under `folder`. Raises `SampleError` unless it calls itself public domain."""
    path = folder / sample.original
    if not path.is_file():
        raise SampleError(f"{sample.file}: {path} does not exist")
    text = path.read_text(encoding="utf-8")
    if 'license rdf:resource="http://web.resource.org/cc/PublicDomain"' not in text:
        raise SampleError(f"{sample.file}: {path} does not say that it is in the public domain")
    return text


def render_svg(svg: str, width: int) -> bytes:
    """PNG of `svg`, `width` pixels wide. Raises `SampleError` where resvg-py is missing."""
    try:
        resvg = importlib.import_module("resvg_py")
    except ModuleNotFoundError as error:
        raise SampleError("drawings are rendered by the package resvg-py, which the extra `training` brings") from error
    return bytes(resvg.svg_to_bytes(svg_string=svg, width=width))


def drawing_png(svg: str, render: Renderer) -> bytes:
    """The drawing, trimmed to its ink and centred on a white square: PNG of DRAWING_SIZE_PX squared, RGB."""
    with Image.open(io.BytesIO(render(svg, DRAWING_SIZE_PX * SUPERSAMPLING))) as picture:
        ink = picture.convert("RGBA")
    ink = ink.crop(ink.getchannel("A").getbbox())
    room = DRAWING_SIZE_PX - 2 * DRAWING_MARGIN_PX
    scale = room / max(ink.size)
    ink = ink.resize((round(ink.width * scale), round(ink.height * scale)), Image.Resampling.LANCZOS)
    page = Image.new("RGB", (DRAWING_SIZE_PX, DRAWING_SIZE_PX), "white")
    page.paste(ink, ((page.width - ink.width) // 2, (page.height - ink.height) // 2), ink)
    buffer = io.BytesIO()
    page.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def attribution(manifest: Manifest) -> str:
    """`ATTRIBUTION.md`: every source with its licence, and the samples taken from it."""
    parts = [
        "# Where the sample images come from\n",
        "Written by `python -m training.samples` from `samples.json`. Photographs are test rows of their data sets.\n",
    ]
    for name, source in manifest.sources.items():
        parts.append(f"## {source.title}\n")
        parts.append(f"Licence: {source.licence}. {source.attribution} {source.changes}\n")
        rows = [sample for sample in manifest.samples if sample.source == name]
        parts.extend(f"- `{row.file}` from `{row.original}`{row.author and f', by {row.author}'}" for row in rows)
        parts.append("")
        if source.notice:
            parts.append("\n".join(f"> {line}".rstrip() for line in source.notice.splitlines()) + "\n")
    return "\n".join(parts).rstrip() + "\n"


def make_samples(
    folder: Path, *, data: Path | None, emoji: Path | None, clip_art: Path | None, render: Renderer = render_svg
) -> list[str]:
    """Write every sample whose source is given, and the attribution. Returns the names of the files written."""
    manifest = read_manifest(folder)
    files: dict[str, bytes] = {}
    if data is not None:
        files |= photographs(data, manifest.of_kind("photograph"))
    if emoji is not None:
        files |= {s.file: drawing_png(emoji_svg(emoji, s), render) for s in manifest.of_kind("emoji")}
    if clip_art is not None:
        files |= {s.file: drawing_png(clip_art_svg(clip_art, s), render) for s in manifest.of_kind("clip art")}
    files["ATTRIBUTION.md"] = attribution(manifest).encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return sorted(files)


def main(
    data: Annotated[Path | None, typer.Option(help="Folder with clothing.parquet and grocery_store.parquet.")] = None,
    emoji: Annotated[Path | None, typer.Option(help="The unpacked npm package @iconify-json/noto.")] = None,
    clip_art: Annotated[Path | None, typer.Option(help="The folder svg of the Debian package openclipart-svg.")] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of samples.json; the images go beside it.", show_default="the playground's own")
    ] = SAMPLES_DIR,
) -> None:
    """Make the playground's sample images again, from the sources given."""
    try:
        written = make_samples(out, data=data, emoji=emoji, clip_art=clip_art)
    except ValueError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{out}: wrote {', '.join(written)}")


if __name__ == "__main__":
    typer.run(main)
