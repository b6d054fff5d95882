"""Writes requirements out of pyproject.toml, so that images install them before the code, which changes more often.

python docker/requirements.py --extras cpu,lite          # the gateway's own, and those of two extras
python docker/requirements.py --packages numpy,onnxruntime    # these alone, wherever they are listed
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path


def main() -> int:
    options = parse_options()
    with options.pyproject.open("rb") as file:
        project = tomllib.load(file)["project"]
    try:
        wanted = of_packages(project, options.packages) if options.packages else of_extras(project, options.extras)
    except KeyError as error:
        sys.stderr.write(f"{options.pyproject}: names no {error.args[0]}\n")
        return 2
    sys.stdout.write("".join(f"{each}\n" for each in wanted))
    return 0


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pyproject", type=Path, default=Path("pyproject.toml"), metavar="FILE")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--extras", type=names, default=[], metavar="A,B", help="May be empty: none.")
    chosen.add_argument("--packages", type=names, default=[], metavar="A,B")
    return parser.parse_args()


def names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def of_extras(project: dict[str, dict[str, list[str]]], extras: list[str]) -> list[str]:
    """The dependencies and those of `extras`. Raises `KeyError` with what is missing."""
    groups = project["optional-dependencies"]
    for extra in extras:
        if extra not in groups:
            raise KeyError(f"extra {extra}")
    return [*project["dependencies"], *(each for extra in extras for each in groups[extra])]


def of_packages(project: dict[str, dict[str, list[str]]], packages: list[str]) -> list[str]:
    """One requirement per package, from the dependencies or the first extra that has it. Raises `KeyError`."""
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    found = {package_of(each): each for group in reversed(groups) for each in group}
    for package in packages:
        if package not in found:
            raise KeyError(f"package {package}")
    return [found[package] for package in packages]


def package_of(requirement: str) -> str:
    """`uvicorn[standard]==1.0` is of `uvicorn`."""
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


if __name__ == "__main__":
    sys.exit(main())
