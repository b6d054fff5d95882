"""The entries of a keys file: what they mean, and how a wrong one is named without quoting what may be a key."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from service.errors import ConfigurationError
from service.keys import SCOPES, Scope, digest_of, entry_text, find_key, new_key, parse_keys
from service.keys_file import MAX_BYTES
from tests.support.keys import api_key

SECRET = "quorum_A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v"
DIGEST = digest_of(SECRET).hex()
HEAD = f'[[key]]\nname = "web"\nsha256 = "{DIGEST}"\nscopes = ["read"]\n'
EXPIRY = datetime(2027, 1, 31, 12, tzinfo=UTC)


def parse_error(text: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        parse_keys(text, "the keys file")
    assert SECRET not in raised.value.message
    assert DIGEST not in raised.value.message
    return raised.value.message


def test_what_is_written_is_what_is_read() -> None:
    keys = (
        api_key("a", "read"),
        api_key("b", "read", "write", requests_per_minute=600, images_per_minute=6_000, expires=EXPIRY),
        api_key("c", "admin"),
    )
    assert parse_keys("\n".join(map(entry_text, keys)), "") == keys


def test_an_empty_file_holds_no_keys() -> None:
    assert parse_keys("", "") == parse_keys("# none yet\n", "") == ()


def test_every_new_key_is_another_and_has_256_random_bits() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert {len(key) for key in keys} == {len("quorum_") + 43}


def test_a_key_is_found_by_what_was_sent_and_by_nothing_else() -> None:
    keys = (api_key("first"), api_key("second"))
    assert find_key(keys, "second") is keys[1]
    for sent in ("", "third", "second ", digest_of("second").hex(), "Second"):
        assert find_key(keys, sent) is None
    assert find_key((), "first") is None


def test_every_key_is_compared_whichever_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(sent: bytes, known: bytes) -> bool:
        compared.append(known)
        return sent == known

    monkeypatch.setattr("service.keys.hmac.compare_digest", compare)
    keys = (api_key("first"), api_key("second"), api_key("third"))
    find_key(keys, "first")
    assert compared == [key.digest for key in keys]


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (("read",), {"read"}),
        (("write",), {"read", "write"}),
        (("admin",), set(SCOPES)),
        (("write", "read"), {"read", "write"}),
    ],
)
def test_a_scope_includes_those_below_it(scopes: tuple[Scope, ...], allowed: set[Scope]) -> None:
    assert {scope for scope in SCOPES if api_key("a", *scopes).allows(scope)} == allowed


def test_a_key_expires_at_its_moment_and_not_before() -> None:
    key = api_key("a", expires=EXPIRY)
    assert not key.has_expired(EXPIRY - timedelta(microseconds=1))
    assert key.has_expired(EXPIRY)
    assert not api_key("a").has_expired(EXPIRY)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2027-01-31T12:00:00Z", EXPIRY),
        ("2027-01-31T13:00:00+01:00", EXPIRY),
        ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC)),
    ],
)
def test_a_time_has_an_offset_and_a_date_is_midnight_in_utc(written: str, meant: datetime) -> None:
    (key,) = parse_keys(f"{HEAD}expires = {written}\n", "")
    assert key.expires == meant


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", '""'),
        ("name", '"with space"'),
        ("name", "7"),
        ("name", f'"{SECRET}"'),
        ("name", f'"{"x" * 65}"'),
        ("sha256", f'"{SECRET}"'),
        ("sha256", f'"{DIGEST.upper()}"'),
        ("sha256", '""'),
        ("sha256", f'"{digest_of("").hex()}"'),
        ("scopes", "[]"),
        ("scopes", '"read"'),
        ("scopes", '["root"]'),
        ("scopes", "[{}]"),
        ("requests_per_minute", "0"),
        ("requests_per_minute", "true"),
        ("requests_per_minute", "1.5"),
        ("images_per_minute", '"many"'),
        ("images_per_minute", "-3"),
        ("expires", '"2027-01-31"'),
        ("expires", "2027-01-31T12:00:00"),
        ("expires", "12:00:00"),
    ],
)
def test_a_wrong_value_is_named_by_line_and_field(field: str, value: str) -> None:
    lines = [line for line in HEAD.splitlines() if not line.startswith(f"{field} ")]
    text = "# ours\n\n" + "\n".join([*lines, f"{field} = {value}"]) + "\n"
    message = parse_error(text)
    assert message.startswith(f"the keys file, line 3 ([[key]] number 1): {field} ")


@pytest.mark.parametrize("field", ["name", "sha256", "scopes"])
def test_what_every_entry_needs_is_named_where_it_is_missing(field: str) -> None:
    text = "\n".join(line for line in HEAD.splitlines() if not line.startswith(f"{field} "))
    assert f"[[key]] number 1): {field} " in parse_error(text)


def test_the_second_entry_is_named_by_its_own_line() -> None:
    text = f'{HEAD}\n# the job that runs at night\n[[key]]\nname = "night"\n'
    assert parse_error(text).startswith("the keys file, line 7 ([[key]] number 2): sha256 ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{HEAD}scope = 1\n", 'the field "scope" is not known'),
        (f"{HEAD}{SECRET} = 1\n", "a field is not known"),
        (f"{HEAD}\n{HEAD}", 'the name "web" is there already'),
        (HEAD + HEAD.replace("web", "other"), "sha256 is that of an entry before it"),
        ("key = 3\n", "entries [[key]] and nothing else"),
        ("key = [3]\n", "entries [[key]] and nothing else"),
        (f'keys = "{SECRET}"\n', "entries [[key]] and nothing else"),
        (f"{HEAD}{SECRET}\n", "line 5: this is not TOML"),
        (f"{HEAD}name = 'again'\n", "line 5: this is not TOML"),
        ('[[key]]\nname = "web', "at its end: this is not TOML"),
        ("key = " + "[" * 10_000, "this is not TOML"),
        (f"{HEAD}requests_per_minute = {'9' * 5_000}\n", "this is not TOML"),
    ],
)
def test_what_is_no_keys_file_is_refused_without_a_word_of_what_it_says(text: str, words: str) -> None:
    assert words in parse_error(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("#\n" * (MAX_BYTES // 2), id="comments"),
        pytest.param("".join(entry_text(api_key(f"k{number}")) for number in range(8_000)), id="entries"),
    ],
)
def test_the_largest_file_is_read_in_a_moment(text: str) -> None:
    """A running gateway reads it between two requests."""
    begun_s = time.process_time()
    parse_keys(text, "")
    assert time.process_time() - begun_s < 2.0


def test_neither_key_nor_digest_is_shown_of_an_entry() -> None:
    key = api_key(SECRET, name="web")
    assert DIGEST not in repr(key) + str(key)
    assert repr(key.digest) not in repr(key)
