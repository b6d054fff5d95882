"""The tree of errors: complete, with stable codes, as its docstring draws it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import service.errors
from service.errors import QuorumError, RequestError, ServiceError, StartupError

DRAWN = re.compile(r"[├└]── (?P<name>\w+) +(?:(?P<status>\d{3}) +(?P<code>\w+))?(?P<retry> +\(\+ Retry-After\))?")
ABSTRACT = {RequestError, ServiceError, StartupError}


def classes(root: type[QuorumError] = QuorumError) -> Iterator[type[QuorumError]]:
    for each in root.__subclasses__():
        yield each
        yield from classes(each)


NAMED = [each for each in classes() if each not in ABSTRACT and not issubclass(each, StartupError)]


def drawn() -> dict[str, tuple[int, str]]:
    found = DRAWN.finditer(service.errors.__doc__ or "")
    return {each["name"]: (int(each["status"] or 0), each["code"] or "") for each in found}


def test_the_docstring_draws_every_class_and_no_other() -> None:
    assert drawn().keys() == {each.__name__ for each in classes()}


@pytest.mark.parametrize("error", NAMED, ids=lambda error: error.__name__)
def test_a_class_is_what_the_docstring_says(error: type[QuorumError]) -> None:
    assert drawn()[error.__name__] == (error.status, error.code)
    assert (error.status >= 500) == issubclass(error, ServiceError)
    assert (400 <= error.status < 500) == issubclass(error, RequestError)


def test_no_two_classes_share_a_code() -> None:
    codes = [each.code for each in classes() if each is not ServiceError]
    assert len(codes) == len(set(codes))


def test_types_are_few_and_tell_whose_turn_it_is() -> None:
    assert {each.type for each in classes(RequestError)} == {
        *("invalid_request_error", "authentication_error", "permission_error", "rate_limit_error")
    }
    assert {each.type for each in classes(ServiceError)} == {"server_error", "timeout_error"}


@pytest.mark.parametrize("error", [QuorumError, *classes()], ids=lambda error: error.__name__)
def test_blaming_another_field_keeps_everything_else(error: type[QuorumError]) -> None:
    blamed = error("why", param="a", retry_after_s=2.5).with_param("b")
    assert type(blamed) is error
    assert (blamed.message, blamed.param, blamed.retry_after_s, str(blamed)) == ("why", "b", 2.5, "why")
