"""A gateway that somebody else runs, behind an address: a cluster's, for the scenarios that need nothing but HTTP."""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvloop

from loadtest.connection import ConnectionLostError, Pool, Response
from loadtest.gateway import GatewayError
from loadtest.payload import get

WITHIN_S = 15.0
KEY_VARIABLE = "QUORUM_CLIENT_API_KEY"
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class External:
    """`address` is what the header `Host` says. Its processes cannot be seen, so neither memory nor cores are known."""

    host: str
    port: int
    address: str
    tls: ssl.SSLContext | None = None
    lines: str = field(default="", repr=False)

    def pool(self) -> Pool:
        return Pool(self.host, self.port, self.tls)

    def usage(self) -> None:
        return None

    def fetch(self, path: str) -> Any:
        """The JSON that a GET gives. Raises `GatewayError` in words that name address and remedy."""

        async def ask() -> Response:
            pool = self.pool()
            try:
                return await pool.request(get(path, self.address, self.lines), WITHIN_S)
            finally:
                pool.close()

        try:
            answer = uvloop.run(ask())
        except TimeoutError as error:
            raise GatewayError(f"{self.address} did not answer within {WITHIN_S:.0f} s.") from error
        except ConnectionLostError as error:
            raise GatewayError(f"{self.address} hung up without an answer: is it HTTP that is spoken there?") from error
        except ssl.SSLCertVerificationError as error:
            raise GatewayError(
                f"{self.address} shows a certificate that is not trusted here ({error.verify_message}). That of its "
                "authority goes into a file that SSL_CERT_FILE names."
            ) from error
        except (OSError, UnicodeError) as error:  # the second: no name that could be looked up
            raise GatewayError(
                f"{self.address} cannot be reached: {getattr(error, 'strerror', None) or error}"
            ) from error
        return self._read(answer, path)

    def _read(self, answer: Response, path: str) -> Any:
        if answer.status == 401:
            given = "The key was refused" if self.lines else "A key is needed"
            raise GatewayError(f"{given} by {self.address}: put one of scope `read` into {KEY_VARIABLE}.")
        if answer.status == 403:
            raise GatewayError(f"The key in {KEY_VARIABLE} may not read at {self.address}: scope `read` is needed.")
        if 300 <= answer.status < 400:
            place = answer.headers.get(b"location", b"another address").decode("latin-1")
            raise GatewayError(
                f"{self.address} answered GET {path} by leading to {place}: give the address behind that."
            )
        try:
            found = json.loads(answer.body)
        except ValueError:
            found = None
        if answer.status != 200 or not isinstance(found, dict):
            raise GatewayError(f"{self.address} answered GET {path} with {answer.status}: is a gateway behind it?")
        return found


def external(url: str, key: str | None) -> External:
    """Raises `ValueError`, in words, for what is no address of a gateway."""
    parts = urlsplit(url)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is no address such as https://quorum.example or http://10.0.0.7:8000.")
    if parts.username is not None:
        raise ValueError(f"An address holds no user and no password; a key goes into {KEY_VARIABLE}.")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"{url!r} goes beyond host and port: the API begins at the root of its address.")
    if key is not None and not (key.isascii() and key.isprintable()):
        raise ValueError(f"What stands in {KEY_VARIABLE} is no key: it holds a line end or a letter beyond ASCII.")
    lines = "" if not key else f"Authorization: Bearer {key}\r\n"
    tls = ssl.create_default_context() if parts.scheme == "https" else None
    return External(parts.hostname, parts.port or PORTS[parts.scheme], parts.netloc, tls, lines)


def smallest_backbone(target: External) -> str:
    """The one that costs least by its own account, of the committee's members there."""
    listed = target.fetch("/v1/models").get("data")
    models = [each for each in listed if _is_member(each)] if isinstance(listed, list) else []
    if not models:
        raise GatewayError(f"{target.address} names no backbone under /v1/models: is a gateway behind it?")
    return str(min(models, key=lambda each: float(each["gflops"]))["id"])


def _is_member(model: Any) -> bool:
    """Not the committee itself, nobody who votes only when asked, and nothing of another kind of server."""
    if not isinstance(model, dict) or not isinstance(model.get("gflops"), int | float):
        return False
    return model.get("id") != "committee" and model.get("votes") != "when_asked"
