"""What is found in folders, archives and JSON lines before it becomes items, and what is refused at once."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import tracemalloc
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import typer

from service.cli import archives
from service.cli.entries import Entry, ReadLimits, Source, UnreadableError
from service.cli.sources import scan
from tests.support.images import encoded, jpeg, photograph

LIMITS = ReadLimits(image_bytes=100_000, text_characters=100)
Member = tuple[str, bytes]


def write(path: Path, content: bytes | str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pack(path: Path, *members: Member | tarfile.TarInfo) -> Path:
    """A tar archive, compressed where its name says so."""
    with tarfile.open(path, "w:gz" if path.suffix in (".gz", ".tgz") else "w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def info(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def look(*paths: Path, texts: bool = False, prefix_ids: bool = False) -> list[Source]:
    return scan(paths, texts=texts, prefix_ids=prefix_ids)


def entries(sources: Sequence[Source]) -> list[Entry]:
    return [entry for source in sources for entry in source.entries]


def ids(sources: Sequence[Source]) -> list[str]:
    return [entry.id for entry in entries(sources)]


def contents(source: Source, limits: ReadLimits = LIMITS) -> dict[str, bytes | str]:
    """By id; what cannot be read by its reason."""
    return {
        entry.id: str(content) if isinstance(content, UnreadableError) else content
        for entry, content in source.contents(limits)
    }


def test_a_folder_is_gone_through_with_its_sub_folders(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/c.png", "a/d e/Käse.webp", ".cache/x.jpg", "a/.DS_Store"):
        write(tmp_path / name, jpeg())
    write(tmp_path / "notes.md", "no image")
    (source,) = look(tmp_path)
    assert sorted(ids([source])) == ["a/c.png", "a/d e/Käse.webp", "b.jpg"]
    assert source.skipped == [str(tmp_path / "notes.md")]
    assert contents(source)["b.jpg"] == jpeg()


def test_images_are_known_by_contents_or_by_name(tmp_path: Path) -> None:
    """A broken image is to be reported by the server, not passed over."""
    write(tmp_path / "image.txt", encoded(photograph(), "PNG"))
    write(tmp_path / "broken.JPG", "no image")
    write(tmp_path / "empty.png")
    write(tmp_path / "words.txt", " a red dress\n")
    assert sorted(ids(look(tmp_path))) == ["broken.JPG", "empty.png", "image.txt"]
    (source,) = look(tmp_path, texts=True)
    assert {entry.id: entry.kind for entry in source.entries}["words.txt"] == "text"
    assert contents(source)["words.txt"] == "a red dress"


def test_what_cannot_be_opened_without_waiting_is_not_opened(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", jpeg())
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "circle").symlink_to(tmp_path)
    assert ids(look(tmp_path)) == ["a.jpg"]


def test_what_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(1 << 40)
    (source,) = look(tmp_path, texts=True)
    found = contents(source)
    assert "an image may have 97.7 KiB (QUORUM_MAX_IMAGE_BYTES)" in str(found["huge.jpg"])
    assert "a text may have 100 characters (QUORUM_MAX_TEXT_CHARACTERS)" in str(found["huge.txt"])


def test_texts_that_are_none_are_told_of(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", b"\xff\xfe\x00")
    write(tmp_path / "b.txt", " \n")
    (source,) = look(tmp_path, texts=True)
    assert contents(source) == {"a.txt": "it is not a text in UTF-8", "b.txt": "there is no text in it"}


def test_a_file_that_is_gone_meanwhile_is_its_own_failure(tmp_path: Path) -> None:
    gone = write(tmp_path / "a.jpg", jpeg())
    write(tmp_path / "b.jpg", jpeg())
    (source,) = look(tmp_path)
    gone.unlink()
    assert contents(source) == {"a.jpg": "No such file or directory", "b.jpg": jpeg()}


def test_ids_are_names_as_they_are_read(tmp_path: Path) -> None:
    write(tmp_path / unicodedata.normalize("NFD", "Käse.jpg"), jpeg())
    assert ids(look(tmp_path)) == [unicodedata.normalize("NFC", "Käse.jpg")]


def test_names_that_are_no_ids_are_told_of(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jpg", "wb") as file:
        file.write(jpeg())
    write(tmp_path.joinpath(*["ä" * 100] * 3, "x.jpg"), jpeg())
    (source,) = look(tmp_path)
    problems = [entry.problem for entry in source.entries]
    assert "its name is no text in UTF-8; rename it" in problems
    assert "its id has 608 bytes; one may have 512" in problems
    assert contents(source) == {}
    assert all(entry.id.encode() for entry in source.entries)


@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz", "shard.tgz"])
def test_an_archive_has_images_and_their_fields(tmp_path: Path, name: str) -> None:
    path = pack(
        tmp_path / name,
        ("./s/1.json", json.dumps({"year": 2024}).encode()),
        ("./s/1.left.jpg", jpeg(seed=1)),
        ("./s/1.txt", b"a red dress"),
        ("s/2.png", jpeg(seed=2)),
        ("s/.hidden.jpg", jpeg()),
        ("s/readme.md", b"no image"),
    )
    (source,) = look(path)
    assert [(entry.id, entry.fields) for entry in source.entries] == [
        ("s/1.left.jpg", {"year": 2024}),
        ("s/2.png", None),
    ]
    assert contents(source) == {"s/1.left.jpg": jpeg(seed=1), "s/2.png": jpeg(seed=2)}
    assert source.skipped == [f"{path}: s/readme.md"]
    assert contents(look(path, texts=True)[0])["s/1.txt"] == "a red dress"


def test_what_an_archive_is_called_does_not_say_whether_it_is_compressed(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.tar.gz", ("a.jpg", jpeg())).rename(tmp_path / "x.tar")
    assert ids(look(path)) == ["a.jpg"]


def test_links_devices_and_pipes_in_an_archive_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(jpeg())
    path = pack(
        tmp_path / "shard.tar",
        ("a.jpg", jpeg()),
        info("link.jpg", tarfile.SYMTYPE, str(tmp_path / "secret.jpg")),
        info("hard.jpg", tarfile.LNKTYPE, "a.jpg"),
        info("pipe.jpg", tarfile.FIFOTYPE),
        info("disk.jpg", tarfile.CHRTYPE),
        info("folder.jpg", tarfile.DIRTYPE),
    )
    (source,) = look(path)
    assert contents(source) == {"a.jpg": jpeg()}
    assert [name.rpartition(" ")[2] for name in source.skipped] == ["link.jpg", "hard.jpg", "pipe.jpg", "disk.jpg"]


def test_nothing_of_an_archive_is_written_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = pack(tmp_path / "shard.tar", ("../../above.jpg", jpeg()), ("/etc/absolute.jpg", jpeg(seed=2)))
    (source,) = look(path)
    assert sorted(contents(source)) == ["../../above.jpg", "/etc/absolute.jpg"]
    assert [each.name for each in tmp_path.iterdir()] == ["shard.tar"]
    assert not (tmp_path.parent.parent / "above.jpg").exists()


def test_a_member_beyond_the_limit_is_told_of_and_not_read(tmp_path: Path) -> None:
    path = pack(tmp_path / "shard.tar", ("a.jpg", b"x" * 200_000), ("b.jpg", jpeg()))
    found = contents(look(path)[0])
    assert "it has 195.3 KiB" in str(found["a.jpg"])
    assert found["b.jpg"] == jpeg()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [(b"{", "are not JSON"), (b"[1]", "are no JSON object"), (b"[" * 100_000, "are not JSON"), (b" " * 2**21, "bytes")],
    ids=["broken", "a list", "deep", "large"],
)
def test_fields_that_are_none_are_their_images_failure(tmp_path: Path, fields: bytes, problem: str) -> None:
    path = pack(tmp_path / "shard.tar", ("1.jpg", jpeg()), ("1.json", fields), ("2.jpg", jpeg()))
    first, second = look(path)[0].entries
    assert problem in (first.problem or "")
    assert second.problem is None


def bomb(path: Path, kind: bytes, claimed: int, written: int) -> Path:
    with gzip.open(path, "wb", compresslevel=1) as file:
        member = tarfile.TarInfo("a.jpg")
        member.type, member.size = kind, claimed
        file.write(member.tobuf())
        for _ in range(written >> 20):
            file.write(bytes(1 << 20))
    return path


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [(tarfile.REGTYPE, "unpacks to more than"), (tarfile.XHDTYPE, "claims"), (tarfile.GNUTYPE_LONGNAME, "claims")],
)
def test_a_bomb_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes, sentence: str
) -> None:
    monkeypatch.setattr(archives, "ALWAYS_UNPACKED", 1 << 20)
    path = bomb(tmp_path / "bomb.tar.gz", kind, claimed=256 << 20, written=64 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(typer.BadParameter, match=sentence):
            look(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda _: b"no archive", lambda _: b""])
@pytest.mark.parametrize("name", ["shard.tar", "shard.tar.gz"])
def test_a_damaged_archive_is_refused(tmp_path: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    path = pack(tmp_path / name, *[(f"{number}.jpg", jpeg(seed=number)) for number in range(20)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(typer.BadParameter, match="cannot be read as a tar archive"):
        look(path)


def test_an_archive_that_was_changed_meanwhile_is_told_of(tmp_path: Path) -> None:
    path = pack(tmp_path / "shard.tar", ("a.jpg", jpeg()), ("b.jpg", jpeg(seed=2)))
    (source,) = look(path)
    pack(path, ("a.jpg", jpeg()))
    assert contents(source) == {"a.jpg": jpeg(), "b.jpg": "the archive was changed meanwhile"}


def test_lines_of_json_are_texts(tmp_path: Path) -> None:
    path = write(
        tmp_path / "texts.jsonl",
        '\ufeff{"id": "1", "text": "a red dress", "fields": {"year": 2024}}\n\n'
        '{"id": "2", "text": " "}\n{"id": "3", "text": "' + "x" * 101 + '"}\n',
    )
    (source,) = look(path)
    assert [(entry.id, entry.fields, entry.problem) for entry in source.entries] == [
        ("1", {"year": 2024}, None),
        ("2", None, "there is no text in it"),
        ("3", None, None),
    ]
    assert contents(source) == {
        "1": "a red dress",
        "3": "it has more than 100 characters (QUORUM_MAX_TEXT_CHARACTERS)",
    }


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "1"}',
        '{"id": 1, "text": "a"}',
        '{"id": "", "text": "a"}',
        '{"id": "1", "text": "a", "txet": ""}',
        '{"id": "1", "text": "a", "fields": []}',
        "[]",
        "{",
        "x" * (2 << 20),
    ],
    ids=range(8),
)
def test_a_line_that_is_no_text_is_refused_with_its_number(tmp_path: Path, line: str) -> None:
    path = write(tmp_path / "texts.jsonl", f'{{"id": "0", "text": "a"}}\n{line}\n')
    with pytest.raises(typer.BadParameter, match=r"texts\.jsonl, line 2"):
        look(path)


def test_two_sources_of_one_id_are_refused_unless_ids_begin_with_the_source(tmp_path: Path) -> None:
    write(tmp_path / "one" / "a.jpg", jpeg())
    path = pack(tmp_path / "two.tar.gz", ("a.jpg", jpeg()))
    with pytest.raises(typer.BadParameter, match=r'one/a\.jpg and .*two\.tar\.gz: a\.jpg would both be .*"a\.jpg"'):
        look(tmp_path / "one", path)
    sources = look(tmp_path / "one", path, prefix_ids=True)
    assert ids(sources) == ["one/a.jpg", "two/a.jpg"]
    assert [contents(source) for source in sources] == [{"one/a.jpg": jpeg()}, {"two/a.jpg": jpeg()}]


def test_the_name_of_the_working_folder_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "photos" / "a.jpg", jpeg())
    monkeypatch.chdir(tmp_path / "photos")
    assert ids(look(Path(), prefix_ids=True)) == ["photos/a.jpg"]


def test_one_name_twice_in_an_archive_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "shard.tar", ("a.jpg", jpeg()), ("./a.jpg", jpeg(seed=2)))
    with pytest.raises(typer.BadParameter, match="would both be the item"):
        look(path)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("nothing", "is not there"), ("file.zip", "is none; a source is a folder"), ("folder", "no images in it; 1 file")],
)
def test_what_is_no_source_is_refused(tmp_path: Path, name: str, sentence: str) -> None:
    write(tmp_path / "file.zip")
    write(tmp_path / "folder" / "notes.md", "x")
    with pytest.raises(typer.BadParameter, match=sentence):
        look(tmp_path / name)


def test_ten_thousand_files_take_little_memory(tmp_path: Path) -> None:
    for number in range(10_000):
        (tmp_path / f"{number:05}.jpg").write_bytes(b"\xff\xd8\xff" + b"x" * 2_000)
    tracemalloc.start()
    try:
        (source,) = look(tmp_path)
        read = sum(len(content) for _, content in source.contents(LIMITS) if isinstance(content, bytes))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read == 10_000 * 2_003
    assert peak < 12 << 20
