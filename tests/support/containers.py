"""Images built and run without Docker: buildah builds, crun runs, and the base image is made of Debian's packages.

No registry can be reached where this is tested, so what stands for `python:...-slim-...` has the same release of Debian
and Python's minor version, and not the same files. Not tested either: limits on memory and processor (a container
gets no control group here), a network of its own (it uses the machine's), Docker's default filter of system calls.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.compose import ROOT

CACHE = ROOT / "var/images"
PROGRAMS = ("buildah", "crun", "mmdebstrap", "unshare")
PACKAGES = "python3,python3-venv,libpython3.11,ca-certificates"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
LEFT_OUT = ("doc", "man", "locale", "info")
PATIENCE_S = 900.0

# crun refuses the mixed control groups of some machines, unless it sees none.
WITHOUT_CONTROL_GROUPS = 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"'
APART = ("unshare", "--mount", "--propagation", "private", "sh", "-c", WITHOUT_CONTROL_GROUPS, "sh")


def run(*command: str | Path, **options: Any) -> str:
    """Its output. Raises `RuntimeError` with its last words."""
    done = subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, check=False, timeout=PATIENCE_S, **options
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-3000:]}")
    return str(done.stdout)


def impossible_because() -> str | None:
    """Why images can be neither built nor run here; None where they can."""
    if os.getuid() != 0:
        return "it takes root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"these programs are not installed: {', '.join(missing)}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            run(*APART, "true")
            Store(Path(folder)).buildah("from", "scratch")
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            return " ".join(str(error).split())[:300]
    return None


@dataclass(frozen=True)
class Image:
    """`config` is what the Dockerfile says of running it, as `docker inspect` shows it; `root` its files."""

    name: str
    config: Mapping[str, Any]
    root: Path

    def bytes(self, folder: str = "") -> int:
        return int(run("du", "--summarize", "--bytes", self.root / folder).split()[0])


class Store:
    """Images under a folder of their own; nothing else on the machine sees them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pip = folder / "pip.conf"
        self._pip.write_text(f"[global]\ncert = {CERTIFICATES}\n", encoding="utf-8")

    def buildah(self, command: str, *arguments: str | Path) -> str:
        where = ("--root", self._folder / "images", "--runroot", self._folder / "run", "--storage-driver", "vfs")
        return run("buildah", *where, command, *arguments).strip()

    def make_base(self, name: str) -> None:
        """What stands for the image `name`, such as python:3.11.14-slim-bookworm."""
        container = self.buildah("from", "scratch")
        self.buildah("add", "--quiet", container, base_files(name.rpartition("-")[2]), "/")
        self.buildah("commit", "--quiet", "--rm", "--format", "docker", container, f"docker.io/library/{name}")

    def build(self, dockerfile: str, name: str, **arguments: str) -> Image:
        """As `docker build --file ... .` does. The machine's certificates are lent to pip alone."""
        lent = [f"{CERTIFICATES}:{CERTIFICATES}:ro", f"{self._pip}:/etc/pip.conf:ro"]
        self.buildah(
            "bud",
            *("--format=docker", "--isolation=chroot", "--pull-never"),
            *(f"--volume={each}" for each in lent),
            *(f"--build-arg={key}={value}" for key, value in arguments.items()),
            *("--file", ROOT / dockerfile, "--tag", name, ROOT),
        )
        config = json.loads(self.buildah("inspect", "--type", "image", name))["Docker"]["config"]
        container = self.buildah("from", "--pull-never", name)
        return Image(name, config, Path(self.buildah("mount", container)))


def base_files(suite: str) -> Path:
    """A Debian with its Python, laid out like the official image: `python` is in /usr/local/bin. Made once."""
    made = CACHE / f"{suite}.tar"
    if made.is_file():
        return made
    CACHE.mkdir(parents=True, exist_ok=True)
    beside = made.with_suffix(f".{os.getpid()}.tar")
    links = " && ".join(f'ln -s ../../bin/python3 "$1/usr/local/bin/{name}"' for name in ("python", "python3"))
    excluded = (f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in LEFT_OUT)
    options = ("--quiet", "--variant=minbase", "--mode=root", f"--include={PACKAGES}", f"--customize-hook={links}")
    try:
        run("mmdebstrap", *options, *excluded, suite, beside)
        beside.replace(made)
    finally:
        beside.unlink(missing_ok=True)
    return made


@dataclass(frozen=True)
class Container:
    """One run of an image as `docker run --read-only --cap-drop ALL --security-opt no-new-privileges` has it."""

    image: Image
    folder: Path
    environment: Mapping[str, str]
    arguments: Sequence[str] = ()
    volumes: Mapping[str, Path] | None = None

    @property
    def name(self) -> str:
        return f"quorum-{os.getpid()}-{self.folder.name}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8")

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The process ends with the container, and with its status."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [*(self.image.config["Entrypoint"] or []), *(self.arguments or self.image.config["Cmd"] or [])]
        (self.folder / "config.json").write_text(json.dumps(self._bundle(command)), encoding="utf-8")
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(self._crun("run", "--bundle", self.folder, self.name), stdout=log, stderr=log)
        try:
            yield process
        finally:
            with suppress(RuntimeError):
                self.send(signal.SIGKILL)
            process.wait(PATIENCE_S)

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in the running container, as `docker exec` does it: as its user, in its environment."""
        path = self.folder / "process.json"
        path.write_text(json.dumps(self._process(command)), encoding="utf-8")
        line = self._crun("exec", "--process", path, self.name)
        return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)

    def send(self, sig: signal.Signals) -> None:
        """To the container's first process."""
        run(*self._crun("kill", self.name, sig.name.removeprefix("SIG")))

    def _crun(self, *words: str | Path) -> list[str]:
        runtime = ("crun", "--root", self.folder.parent / "crun", "--cgroup-manager=disabled")
        return [str(each) for each in (*APART, *runtime, *words)]

    def _process(self, command: Sequence[str]) -> dict[str, Any]:
        config = self.image.config
        uid, gid = map(int, config["User"].split(":"))
        return {
            "terminal": False,
            "user": {"uid": uid, "gid": gid},
            "args": list(command),
            "cwd": config["WorkingDir"],
            "env": [*config["Env"], *(f"{name}={value}" for name, value in self.environment.items())],
            "noNewPrivileges": True,
            "capabilities": {kind: [] for kind in ("bounding", "effective", "inheritable", "permitted", "ambient")},
        }

    def _bundle(self, command: Sequence[str]) -> dict[str, Any]:
        return {
            "ociVersion": "1.0.0",
            "process": self._process(command),
            "root": {"path": str(self.image.root), "readonly": True},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                _tmpfs("/dev", "mode=755", "size=64k"),
                _tmpfs("/dev/shm", "noexec", "mode=1777", "size=256m"),
                _tmpfs("/tmp", "noexec", "mode=1777", "size=64m"),
                *(_bind(source, destination) for destination, source in (self.volumes or {}).items()),
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
        }


def _tmpfs(destination: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", *options]}


def _bind(source: Path, destination: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": str(source), "options": ["rbind", "rw"]}


if __name__ == "__main__":
    reason = impossible_because()
    if reason is not None:
        sys.stdout.write(f"{reason}\n")
        sys.exit(1)
