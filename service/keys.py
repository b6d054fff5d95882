"""API keys: what an operator writes about each, and who of them sent a request. A key itself is never kept, only its
SHA-256: it is 256 random bits, which nobody finds by trying (docs/decisions/0017-keys.md)."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final, Literal, get_args

from service.errors import ConfigurationError

Scope = Literal["read", "write", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""Each includes those before it."""

PREFIX: Final = "quorum_"
"""Of every key, so that scanners for leaked secrets can find one."""
RANDOM_BYTES: Final = 32
NAME: Final = re.compile(rf"(?!{PREFIX})[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}")
"""No name begins as a key does: names are logged and shown."""
NAME_RULE: Final = (
    "has to be at most 64 letters, digits, dots, underscores and dashes, to begin with one of the first two, and not "
    f"with {PREFIX} as keys do"
)
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
TABLE: Final = "key"
FIELDS: Final = ("name", "sha256", "scopes", "requests_per_minute", "images_per_minute", "expires")
FIELD: Final = re.compile(r"[a-z0-9_]{1,24}")
"""What may be a misspelt field. Anything else may be a key in the wrong place, and is not quoted."""
MAX_PER_MINUTE: Final = 10**9
HEADING: Final = re.compile(rf"[ \t]*\[\[[ \t]*{TABLE}[ \t]*\]\]")
"""Of the line with which an entry begins."""
AT: Final = re.compile(r"\(at (?:line (\d+), column \d+|(end) of document)\)$")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """`digest` is the SHA-256 of the key; a limit of None is none; from `expires` on the key opens nothing."""

    name: str
    digest: bytes = field(repr=False)
    scopes: frozenset[Scope]
    requests_per_minute: int | None = None
    images_per_minute: int | None = None
    expires: datetime | None = None

    def has_expired(self, now: datetime) -> bool:
        return self.expires is not None and now >= self.expires

    def allows(self, scope: Scope) -> bool:
        return any(SCOPES.index(each) >= SCOPES.index(scope) for each in self.scopes)


def new_key() -> str:
    return PREFIX + secrets.token_urlsafe(RANDOM_BYTES)


def digest_of(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


NO_KEY: Final = digest_of("")
"""What hashing a variable that is not set gives; its key would be no key."""


def find_key(keys: Sequence[ApiKey], sent: str) -> ApiKey | None:
    """Whose key was sent. All digests are compared always, each in constant time, so that timing tells nothing."""
    digest = digest_of(sent)
    matches = [each for each in keys if hmac.compare_digest(digest, each.digest)]
    return matches[0] if matches else None


def parse_keys(text: str, where: str) -> tuple[ApiKey, ...]:
    """The entries of a keys file, in its order.

    Raises `ConfigurationError` that begins with `where` and names line and field, and quotes no value: a key may stand
    in the wrong place.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # the parser's own, and what long numbers and deep nesting raise
        raise ConfigurationError(f"{where}{_place(error)}: this is not TOML. {_form()}") from error
    tables = document.pop(TABLE, [])
    if document or not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise ConfigurationError(f"{where}: it may hold entries [[{TABLE}]] and nothing else. {_form()}")
    lines = [number for number, line in enumerate(text.split("\n"), 1) if HEADING.match(line)]
    keys: list[ApiKey] = []
    names: set[str] = set()
    digests: set[bytes] = set()
    for index, table in enumerate(tables):
        # Entries in one line, key = [{…}], have no headings.
        line = f", line {lines[index]}" if len(lines) == len(tables) else ""
        place = f"{where}{line} ([[{TABLE}]] number {index + 1})"
        key = _entry(table, place)
        if key.name in names:
            raise ConfigurationError(f'{place}: the name "{key.name}" is there already.')
        if key.digest in digests:
            raise ConfigurationError(f"{place}: sha256 is that of an entry before it. Every name has a key of its own.")
        keys.append(key)
        names.add(key.name)
        digests.add(key.digest)
    return tuple(keys)


def entry_text(key: ApiKey) -> str:
    """The entry of a keys file, with a newline at its end."""
    scopes = ", ".join(f'"{each}"' for each in SCOPES if each in key.scopes)
    lines = [
        f"[[{TABLE}]]",
        f'name = "{key.name}"',
        f'sha256 = "{key.digest.hex()}"',
        f"scopes = [{scopes}]",
    ]
    for name, limit in (
        ("requests_per_minute", key.requests_per_minute),
        ("images_per_minute", key.images_per_minute),
    ):
        if limit is not None:
            lines.append(f"{name} = {limit}")
    if key.expires is not None:
        lines.append(f"expires = {key.expires.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    return "\n".join(lines) + "\n"


def _entry(table: Mapping[str, Any], place: str) -> ApiKey:
    for each in table:
        if each not in FIELDS:
            quoted = f'the field "{each}"' if FIELD.fullmatch(each) else "a field"
            raise ConfigurationError(f"{place}: {quoted} is not known. There are {', '.join(FIELDS)}.")
    return ApiKey(
        name=_name(table, place),
        digest=_digest(table, place),
        scopes=_scopes(table, place),
        requests_per_minute=_limit(table, "requests_per_minute", place),
        images_per_minute=_limit(table, "images_per_minute", place),
        expires=_expires(table, place),
    )


def _name(table: Mapping[str, Any], place: str) -> str:
    name = table.get("name")
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        raise ConfigurationError(f"{place}: name {NAME_RULE}.")
    return name


def _digest(table: Mapping[str, Any], place: str) -> bytes:
    digest = table.get("sha256")
    if not isinstance(digest, str) or DIGEST.fullmatch(digest) is None:
        raise ConfigurationError(
            f"{place}: sha256 has to be the key's SHA-256, 64 hexadecimal digits in lower case, and not the key "
            "itself. `quorum keys new` makes both."
        )
    if digest == NO_KEY.hex():
        raise ConfigurationError(f"{place}: sha256 is that of no text at all: what was to be hashed was missing.")
    return bytes.fromhex(digest)


def _scopes(table: Mapping[str, Any], place: str) -> frozenset[Scope]:
    given = table.get("scopes")
    if not isinstance(given, list) or not given or not all(each in SCOPES for each in given):
        raise ConfigurationError(f"{place}: scopes has to be a list of one or more of {', '.join(SCOPES)}.")
    return frozenset(given)


def _limit(table: Mapping[str, Any], name: str, place: str) -> int | None:
    limit = table.get(name)
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PER_MINUTE:
        raise ConfigurationError(
            f"{place}: {name} has to be a whole number from 1 to {MAX_PER_MINUTE:,}. Leave it out for no limit."
        )
    return limit


def _expires(table: Mapping[str, Any], place: str) -> datetime | None:
    expires = table.get("expires")
    if expires is None:
        return None
    if isinstance(expires, datetime) and expires.tzinfo is not None:
        return expires
    if isinstance(expires, date) and not isinstance(expires, datetime):
        return datetime(expires.year, expires.month, expires.day, tzinfo=UTC)
    raise ConfigurationError(
        f"{place}: expires has to be a date (midnight in UTC) or a time with its offset, without quotation marks, such "
        "as 2027-01-31 or 2027-01-31T12:00:00Z."
    )


def _place(error: Exception) -> str:
    found = AT.search(str(error))
    if found is None:
        return ""
    return ", at its end" if found[2] else f", line {found[1]}"


def _form() -> str:
    return f'An entry is [[{TABLE}]] with name = "…", sha256 = "…", scopes = ["read"]; `quorum keys new` writes one.'
