"""Keys files for tests. The keys in them are plain words, which only tests may have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from service.keys import ApiKey, Scope, digest_of, entry_text


def api_key(plain: str, *scopes: Scope, name: str = "", **limits: Any) -> ApiKey:
    """Its name is the key's unless given; it may do everything unless scopes are given."""
    return ApiKey(name or plain, digest_of(plain), frozenset(scopes or ("admin",)), **limits)


def keys_file(folder: Path, *keys: ApiKey | str) -> Path:
    """A file of these keys, in place of the one before; of a word there is the key that may do everything."""
    path = folder / "keys.toml"
    partial = folder / "keys.toml.new"
    entries = [entry_text(api_key(each) if isinstance(each, str) else each) for each in keys]
    partial.write_text("\n".join(entries), encoding="utf-8")
    partial.replace(path)  # another file, so that it is seen however coarse the clock of the file system is
    return path


def bearer(plain: str) -> dict[str, str]:
    return {"authorization": f"Bearer {plain}"}
