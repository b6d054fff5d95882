"""The gateway's and the CPU Triton's images, built from their Dockerfiles as they are and run with a read-only root.

Not part of a plain run: `make test-images`. What it takes and leaves out is said in tests/support/containers.py.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.conftest import ROOT, free_port
from tests.support.compose import base_images, services
from tests.support.containers import CACHE, Container, Image, Store
from tests.support.proxy import ADDRESSES, Names, answers, haproxy_before, port_of_all, running, wait_until
from tests.support.redis import redis_at

pytestmark = [pytest.mark.image, pytest.mark.timeout(1200)]

SAMPLE = ROOT / "service/playground/samples/bananas.webp"
LABELS = {"labels": ["banana", "carrots"], "top_k": 1}
STOP_LIMIT_S = 60.0
START_LIMIT_S = 120.0
VAR = "/srv/quorum/var"
TOO_LARGE_BYTES = {
    "quorum-gateway": 950_000_000,
    "quorum-gateway:triton": 650_000_000,
    "quorum-triton-cpu": 700_000_000,
}

NewContainer = Callable[..., Container]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Beside the base image, and not in pytest's folder: images are large, and pytest keeps what three runs left."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        yield Path(made)


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    store = Store(folder)
    for name in base_images((ROOT / "docker/gateway.Dockerfile").read_text(encoding="utf-8"))[:1]:
        store.make_base(name)
    return store


@pytest.fixture(scope="module")
def gateway(store: Store) -> Image:
    return store.build("docker/gateway.Dockerfile", "quorum-gateway")


@pytest.fixture(scope="module")
def gateway_for_triton(store: Store) -> Image:
    return store.build("docker/gateway.Dockerfile", "quorum-gateway:triton", EXTRAS="tracing")


@pytest.fixture(scope="module")
def triton(store: Store) -> Image:
    return store.build("docker/triton-cpu.Dockerfile", "quorum-triton-cpu")


@pytest.fixture(params=["gateway", "gateway_for_triton", "triton"])
def image(request: pytest.FixtureRequest) -> Image:
    found: Image = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def container(gateway: Image, folder: Path, tmp_path: Path) -> Container:
    """One of the gateway's, on a port of its own, with a volume for what it keeps."""
    return Container(gateway, folder / tmp_path.name, settings_of(free_port()), volumes={VAR: volume(tmp_path / "var")})


def settings_of(port: int, **others: str) -> dict[str, str]:
    return {"QUORUM_HOST": "127.0.0.1", "QUORUM_PORT": str(port)} | others


def volume(made: Path) -> Path:
    """As Docker makes a named one: it takes over the owner of the folder that it is mounted on."""
    made.mkdir()
    os.chown(made, 10001, 10001)
    return made


def url_of(container: Container) -> str:
    return f"http://{container.environment['QUORUM_HOST']}:{container.environment['QUORUM_PORT']}"


def wait_until_ready(url: str, container: Container, process: subprocess.Popen[bytes]) -> None:
    give_up_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < give_up_s and process.poll() is None:
        try:
            if httpx2.get(url, timeout=2.0).status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"{container.image.name} did not become ready:\n{container.log[-4000:]}")


def started(container: Container, stack: ExitStack) -> subprocess.Popen[bytes]:
    """A gateway that is ready."""
    process = stack.enter_context(container.running())
    wait_until_ready(f"{url_of(container)}/readyz", container, process)
    return process


def classify(url: str, **fields: Any) -> dict[str, Any]:
    response = httpx2.post(
        f"{url}/v1/classify",
        files={"images": SAMPLE.read_bytes()},
        data={"request": json.dumps({name: value for name, value in (LABELS | fields).items() if value is not None})},
        timeout=60.0,
    )
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def health(container: Container) -> list[str]:
    kind, *command = container.image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    return [str(word) for word in command]


def test_an_image_says_how_it_is_run(image: Image) -> None:
    config = image.config
    uid, gid = config["User"].split(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert config["Entrypoint"]
    assert config["Entrypoint"][0] not in ("/bin/sh", "sh")
    assert config["StopSignal"] == "SIGTERM"
    assert config["Labels"]["org.opencontainers.image.title"].startswith("Quorum")
    assert config["ExposedPorts"].keys() >= {"8000/tcp"}


def test_an_image_holds_no_torch_no_pip_and_no_compiler(image: Image) -> None:
    names = {path.name for path in image.root.glob("**/site-packages/*")}
    assert "numpy" in names
    assert not {
        name for name in names if name.split("-")[0].lower() in ("torch", "pip", "setuptools", "wheel", "nvidia")
    }
    programs = {
        path.name for folder in ("usr/bin", "usr/local/bin", "opt") for path in image.root.glob(f"{folder}/**/*")
    }
    assert programs & {"gcc", "cc", "g++", "make", "ld", "pip", "pip3", "curl", "wget"} == set()


def test_an_image_is_no_larger_than_it_has_to_be(image: Image) -> None:
    """Where to look: `du` of site-packages; decision 0018 says what it was."""
    assert image.bytes() < TOO_LARGE_BYTES[image.name]


def test_nothing_of_a_build_stays_in_an_image(image: Image) -> None:
    assert not (image.root / "src").exists()
    lent = image.root / "etc/pip.conf"
    assert not lent.exists() or lent.stat().st_size == 0  # where the test's own was mounted
    assert not (image.root / "root/.cache").exists()


def test_the_gateways_image_holds_its_own_code_and_zoo_alone(gateway: Image) -> None:
    assert (gateway.root / "srv/quorum/model_repository/vit-s_image/1/model.onnx").is_file()
    assert {path.name for path in (gateway.root / "srv/quorum").iterdir()} == {
        "LICENSE",
        "NOTICE",
        "model_repository",
        "var",
    }
    packages = {path.name for path in gateway.root.glob("opt/quorum/lib/*/site-packages/*")}
    assert "service" in packages
    assert packages & {"training", "tests", "loadtest"} == set()
    assert not list(gateway.root.glob("opt/quorum/lib/**/tests"))


def test_the_image_for_triton_has_no_runtime_for_towers_or_galleries(gateway_for_triton: Image) -> None:
    packages = {path.name for path in gateway_for_triton.root.glob("opt/quorum/lib/*/site-packages/*")}
    assert packages & {"onnxruntime", "milvus_lite", "pyarrow"} == set()
    assert "tritonclient" in packages


def test_a_container_classifies_without_rights_and_ends_with_status_0(container: Container) -> None:
    with ExitStack() as stack:
        process = started(container, stack)
        (result,) = classify(url_of(container))["results"]
        assert result["predictions"][0]["label"] == "banana"
        assert not result["degraded"]
        status = dict(line.split(":\t", 1) for line in container.execute("cat", "/proc/1/status").stdout.splitlines())
        assert status["Uid"].split() == ["10001"] * 4
        assert int(status["CapBnd"], 16) == int(status["CapPrm"], 16) == 0
        assert status["NoNewPrivs"].strip() == "1"
        container.send(signal.SIGTERM)
        assert process.wait(STOP_LIMIT_S) == 0, container.log
    assert "Traceback" not in container.log


def test_nothing_can_be_written_but_the_volume_and_the_temporary_folder(container: Container) -> None:
    with ExitStack() as stack:
        started(container, stack)
        for folder in (
            "/",
            "/opt/quorum/bin",
            "/srv/quorum",
            "/srv/quorum/model_repository",
            "/usr/bin",
            "/etc",
            "/var/tmp",
        ):
            refused = container.execute("touch", f"{folder}/new")
            assert "Read-only file system" in refused.stderr, folder
        for folder in ("/tmp", VAR):
            assert container.execute("touch", f"{folder}/new").returncode == 0, folder
        (root,) = [line for line in container.execute("cat", "/proc/mounts").stdout.splitlines() if " / " in line]
        assert "ro" in root.split()[3].split(",")


def test_the_health_check_tells_a_ready_gateway_from_none(container: Container) -> None:
    with ExitStack() as stack:
        started(container, stack)
        well = container.execute(*health(container))
        assert (well.returncode, well.stderr) == (0, "")
        assert container.execute("env", f"QUORUM_PORT={free_port()}", *health(container)).returncode == 1


def test_a_request_in_flight_is_answered_after_sigterm(container: Container) -> None:
    body = SAMPLE.read_bytes()
    head = (
        "POST /v1/classify?labels=cat&labels=dog HTTP/1.1\r\nHost: test\r\nContent-Type: image/webp\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    )
    with ExitStack() as stack:
        process = started(container, stack)
        address = ("127.0.0.1", int(container.environment["QUORUM_PORT"]))
        caller = stack.enter_context(socket.create_connection(address, STOP_LIMIT_S))
        caller.sendall(head.encode())
        assert caller.recv(1000).startswith(b"HTTP/1.1 100")  # the handler reads, so it holds its permit
        container.send(signal.SIGTERM)
        while container.log.count("Shutting down") == 0:
            time.sleep(0.05)
        caller.sendall(body)
        assert caller.recv(1000).startswith(b"HTTP/1.1 200")
        assert process.wait(STOP_LIMIT_S) == 0


def test_what_was_taught_and_stored_outlives_a_container(container: Container) -> None:
    item = {"items": [{"id": "a", "text": "bananas"}]}
    with ExitStack() as stack:
        process, url = started(container, stack), url_of(container)
        assert httpx2.put(f"{url}/v1/label-sets/food", json={"labels": ["banana", "carrots"]}).status_code < 300
        assert httpx2.put(f"{url}/v1/galleries/shop", json={}, timeout=60.0).status_code < 300
        assert httpx2.post(f"{url}/v1/galleries/shop/items", json=item, timeout=60.0).status_code == 200
        container.send(signal.SIGTERM)
        assert process.wait(STOP_LIMIT_S) == 0, container.log
    with ExitStack() as stack:
        started(container, stack)
        assert httpx2.get(f"{url}/v1/label-sets/food").json()["labels"] == ["banana", "carrots"]
        search = {"queries": [{"text": "fruit"}], "top_k": 1}
        found = httpx2.post(f"{url}/v1/galleries/shop/search", json=search, timeout=60.0)
        assert [hit["id"] for hit in found.json()["results"][0]["hits"]] == ["a"], found.text


def test_a_command_of_the_command_line_can_be_run_instead_of_the_server(gateway: Image, folder: Path) -> None:
    container = Container(gateway, folder / "models", {}, arguments=("models",))
    with container.running() as process:
        assert process.wait(STOP_LIMIT_S) == 0, container.log
    assert "vit-s" in container.log


@pytest.fixture
def towers(triton: Image, folder: Path, tmp_path: Path) -> Iterator[str]:
    """gRPC address of the CPU's Triton, in a container."""
    http, grpc, metrics = free_port(), free_port(), free_port()
    ports = (f"--http={http}", f"--grpc={grpc}", f"--metrics={metrics}")
    server = Container(triton, folder / f"triton-{tmp_path.name}", {}, arguments=("--host=127.0.0.1", *ports))
    with server.running() as process:
        wait_until_ready(f"http://127.0.0.1:{http}/v2/health/ready", server, process)
        yield f"127.0.0.1:{grpc}"
        server.send(signal.SIGTERM)
        assert process.wait(STOP_LIMIT_S) == 0, server.log


def test_towers_in_another_container_answer_as_those_in_the_process(
    gateway_for_triton: Image, towers: str, container: Container, folder: Path, tmp_path: Path
) -> None:
    settings = settings_of(free_port(), QUORUM_ENGINE="triton", QUORUM_TRITON_URLS=towers, QUORUM_GALLERIES_URL="off")
    apart = Container(gateway_for_triton, folder / "apart", settings, volumes={VAR: volume(tmp_path / "apart")})
    with ExitStack() as stack:
        started(container, stack)
        started(apart, stack)
        alone, together = (classify(url_of(each))["results"][0]["predictions"] for each in (container, apart))
        assert together[0]["label"] == alone[0]["label"]
        assert together[0]["probability"] == pytest.approx(alone[0]["probability"], abs=1e-5)


def test_two_gateways_share_what_they_know_and_one_may_leave(
    gateway_for_triton: Image, towers: str, folder: Path, tmp_path: Path
) -> None:
    """As compose.yaml has it: HAProxy, two gateways without a volume, Redis for state and for embeddings, Triton."""
    port, names = port_of_all(ADDRESSES), Names()
    with ExitStack() as stack:
        kept, cached = (
            stack.enter_context(redis_at(tmp_path, tuple(services()[name]["command"][1:]))).url
            for name in ("state", "cache")
        )
        shared = {"QUORUM_ENGINE": "triton", "QUORUM_TRITON_URLS": towers, "QUORUM_GALLERIES_URL": "off"}
        shared |= {"QUORUM_STATE_URL": kept, "QUORUM_CACHE_URL": cached}
        gateways = [
            Container(gateway_for_triton, folder / f"at-{address}", settings_of(port, **shared, QUORUM_HOST=address))
            for address in ADDRESSES
        ]
        processes = [started(gateway, stack) for gateway in gateways]
        stack.enter_context(running(names))
        url = stack.enter_context(haproxy_before(port, names, tmp_path))
        wait_until(lambda: answers(f"{url}/readyz"))
        assert httpx2.put(f"{url}/v1/label-sets/food", json={"labels": ["banana", "carrots"]}).status_code == 201
        wait_until(lambda: all(knows(gateway, "food") for gateway in gateways))
        gateways[0].send(signal.SIGTERM)
        for _ in range(20):
            (result,) = classify(url, labels=None, label_set="food")["results"]
            assert result["predictions"][0]["label"] == "banana"
        assert processes[0].wait(STOP_LIMIT_S) == 0, gateways[0].log


def knows(gateway: Container, label_set: str) -> bool:
    return answers(f"{url_of(gateway)}/v1/label-sets/{label_set}")
