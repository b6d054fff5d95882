"""Multipart bodies: files of some names, and everything else in one JSON part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service.errors import InvalidRequestError, MalformedBodyError

FIELDS_PART: Final = "request"


class TooManyFilesError(Exception):
    """More files than asked for; whoever asked knows what the limit is called."""


@dataclass(frozen=True, slots=True)
class FormRules:
    """`files` says in words how files are named, `is_file` knows it."""

    files: str
    is_file: Callable[[str], bool]
    max_files: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Form:
    """`files`: name and bytes of each, as they came; `fields`: the JSON part, `{}` where there is none."""

    files: tuple[tuple[str, bytes], ...]
    fields: bytes


async def read_form(request: Request, rules: FormRules) -> Form:
    """Raises `MalformedBodyError`, `InvalidRequestError` for parts that do not belong there, `TooManyFilesError`."""
    parser = _InMemoryParser(
        request.headers,
        request.stream(),
        max_files=rules.max_files,
        max_fields=1,
        max_part_size=rules.max_bytes,
    )
    parser.spool_max_size = rules.max_bytes
    try:
        form = await parser.parse()
    except (MultiPartException, UnicodeError) as error:  # the latter by a charset of the caller's choice
        if str(getattr(error, "message", "")).startswith("Too many files"):
            raise TooManyFilesError from error
        raise MalformedBodyError(
            f'The multipart body cannot be read. Send files named {rules.files} and one JSON part "{FIELDS_PART}".'
        ) from error
    try:
        return await _contents(form, rules)
    finally:
        await form.close()


async def _contents(form: FormData, rules: FormRules) -> Form:
    files: list[tuple[str, bytes]] = []
    fields: list[bytes] = []
    for name, part in form.multi_items():
        if name == FIELDS_PART:
            fields.append(await part.read() if isinstance(part, UploadFile) else part.encode(errors="surrogatepass"))
        elif not rules.is_file(name):
            raise InvalidRequestError(
                f'Unknown part "{name}". Files are named {rules.files}, everything else goes into one JSON part '
                f'named "{FIELDS_PART}".',
                param=name,
            )
        elif not isinstance(part, UploadFile):
            raise InvalidRequestError(f'A part "{name}" has no filename. Send images as files.', param=name)
        else:
            files.append((name, await part.read()))
    if len(fields) > 1:
        raise InvalidRequestError(f'There are several parts "{FIELDS_PART}". Send one.', param=FIELDS_PART)
    return Form(tuple(files), fields[0] if fields else b"{}")


class _InMemoryParser(MultiPartParser):
    """Starlette moves files beyond `spool_max_size` to disk. Images are never stored, so nothing may go there.

    It also takes a body without its last boundary for a whole one, and forgets the part that was cut off.
    """

    _complete = False

    def on_end(self) -> None:
        self._complete = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self._complete:
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("The last boundary is missing.")
        return form
