"""Starts Triton on a model repository from what pip installs, for machines without NVIDIA's image.

    python docker/triton/serve.py --repository model_repository [-- COMMAND …]

The wheel in `--wheel` (`make triton` puts it there) carries the server and its Python backend; `backends/onnxruntime`
beside this file runs the models. With a COMMAND, that is run once the server is ready; when either ends, or on Ctrl+C,
the other one is ended as well, and what a killed server leaves behind is removed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import http.client
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
READY_LIMIT_S = 120.0
STOP_LIMIT_S = 30.0
POLL_S = 0.1
PR_SET_PDEATHSIG = 1
CORES = "QUORUM_TRITON_CORES"
"""By this the model instances know how many cores they share."""
SHARED_MEMORY = f"quorum_{os.getpid()}_"


def main() -> int:
    options = parse_options()
    server, environment = assemble(options.wheel, options.tree), environment_for(options.wheel, options.cores)
    # Of a server that was killed, where this process has its number: the first of a container that was restarted.
    remove_shared_memory()
    signal.signal(signal.SIGTERM, _interrupt)
    # In groups of their own: Ctrl+C reaches this process alone, which ends the command before what it depends on.
    children = [start_server(server_command(server, options), environment)]
    try:
        if options.command:
            wait_until_ready(options, children[0])
            children.append(subprocess.Popen(options.command, start_new_session=True))
        while all(child.poll() is None for child in children):
            time.sleep(POLL_S)
        return next(child.returncode for child in children if child.returncode is not None)
    except KeyboardInterrupt:
        return 0
    finally:
        for child in reversed(children):
            stop(child)
        remove_shared_memory()


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repository", type=Path, default=Path("model_repository"), metavar="FOLDER")
    parser.add_argument("--wheel", type=Path, default=ROOT / "var/triton/wheel", metavar="FOLDER")
    parser.add_argument("--tree", type=Path, default=ROOT / "var/triton/tree", metavar="FOLDER")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--http", type=int, default=8000, metavar="PORT")
    parser.add_argument("--grpc", type=int, default=8001, metavar="PORT")
    parser.add_argument("--metrics", type=int, default=8002, metavar="PORT")
    parser.add_argument("--log", type=Path, metavar="FILE", help="Where the server's own words go.")
    parser.add_argument(
        "--explicit", action="store_true", help="Load everything, and let clients load and unload models."
    )
    parser.add_argument(
        "--load-model", action="append", default=[], metavar="NAME", help="Load this one alone. Can be repeated."
    )
    parser.add_argument(
        "--cores",
        type=int,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="How many to count threads from, where a container's quota is less than the machine has.",
    )
    parser.add_argument("command", nargs="*", help="What to run beside the server.")
    return parser.parse_args()


def assemble(wheel: Path, tree: Path) -> Path:
    """Lays the server out under `tree` as it expects itself, and returns its binary."""
    found = wheel / "pytriton/tritonserver"
    stub = found / "python_backend_stubs" / python_version() / "triton_python_backend_stub"
    for needed in (found / "bin/tritonserver", stub):
        if not needed.is_file():
            sys.exit(f"{needed}: missing; `make triton` installs the server (for Linux on x86-64, Python 3.8 to 3.13)")
    backends = tree / "backends"
    place(found / "bin/tritonserver", tree / "bin/tritonserver")
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        place(found / "backends/python" / name, backends / "python" / name)
    place(stub, backends / "python" / stub.name)
    place(HERE / "backends/onnxruntime/model.py", backends / "onnxruntime/model.py")
    return tree / "bin/tritonserver"


def place(source: Path, target: Path) -> None:
    """Copies only what differs, under another name first: a server may be running from this tree."""
    if target.is_file() and target.stat().st_mtime_ns == source.stat().st_mtime_ns:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copy2(source, beside)
    beside.chmod(0o755)
    beside.replace(target)


def environment_for(wheel: Path, cores: int) -> dict[str, str]:
    """The stub finds this interpreter (and so its packages) on PATH, and its shared library beside the wheel's."""
    folder, name = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("INSTSONAME")
    if not (sysconfig.get_config_var("Py_ENABLE_SHARED") and find_library(folder, name)):
        sys.exit(
            f"this Python has no shared library ({name}); on Debian it is in the package libpython{python_version()}"
        )
    libraries = [str(wheel.resolve() / "nvidia_pytriton.libs"), folder, os.environ.get("LD_LIBRARY_PATH", "")]
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "LD_LIBRARY_PATH": ":".join(filter(None, libraries)),
        CORES: str(cores),
    }


def find_library(folder: str, name: str) -> bool:
    machine = sysconfig.get_config_var("MULTIARCH") or ""
    return any((Path(each) / name).exists() for each in (folder, f"/usr/lib/{machine}", "/usr/lib64"))


def python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def server_command(server: Path, options: argparse.Namespace) -> list[str]:
    command = [
        str(server.resolve()),
        f"--model-repository={options.repository.resolve()}",
        f"--backend-directory={(options.tree / 'backends').resolve()}",
        *(f"--{protocol}-address={options.host}" for protocol in ("http", "grpc", "metrics")),
        f"--http-port={options.http}",
        f"--grpc-port={options.grpc}",
        f"--metrics-port={options.metrics}",
        "--allow-gpu-metrics=false",
        # Loading is mostly one core's work per model; with more at once, instances are waited for in vain.
        f"--model-load-thread-count={options.cores}",
        f"--backend-config=python,stub-timeout-seconds={READY_LIMIT_S:.0f}",
        f"--backend-config=python,shm-region-prefix-name={SHARED_MEMORY}",
    ]
    if options.log is not None:
        command.append(f"--log-file={options.log.resolve()}")
    models = options.load_model or (["*"] if options.explicit else [])
    if models:
        command += ["--model-control-mode=explicit", *(f"--load-model={model}" for model in models)]
    return command


def start_server(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """The server ends with this process, however that ends."""
    libc = ctypes.CDLL(None)
    return subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
    )


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


def wait_until_ready(options: argparse.Namespace, server: subprocess.Popen[bytes]) -> None:
    give_up_s = time.monotonic() + READY_LIMIT_S
    while time.monotonic() < give_up_s:
        if server.poll() is not None:
            sys.exit(f"Triton ended with status {server.returncode} before it was ready")
        if is_ready(options.host, options.http):
            return
        time.sleep(POLL_S)
    sys.exit(f"Triton was not ready after {READY_LIMIT_S:.0f} s")


def is_ready(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=2.0)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def stop(child: subprocess.Popen[bytes]) -> None:
    """With its whole group: an instance that was at work when its server was killed waits for it for ever."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(STOP_LIMIT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def remove_shared_memory() -> None:
    """A server that was killed leaves it behind, a megabyte per instance."""
    for region in Path("/dev/shm").glob(f"{SHARED_MEMORY}*"):
        region.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
