"""Permits, and when there is room beside those who hold one."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from service.api.admission import Admission
from service.errors import TooManyRequestsError


def test_permits_are_counted_and_limited() -> None:
    counts: list[int] = []
    admission = Admission(2, counts.append)
    with admission.permit(), admission.permit(), pytest.raises(TooManyRequestsError), admission.permit():
        pass
    assert counts == [1, 2, 1, 0]


def test_a_draining_process_answers_who_still_comes_and_does_nothing_beside() -> None:
    counts: list[int] = []
    admission = Admission(2, counts.append)
    admission.draining = True
    with admission.permit():
        assert not admission.has_room
    assert counts == [1, 0]


@pytest.mark.parametrize(("limit", "most"), [(1, 1), (2, 1), (3, 1), (4, 2), (128, 64)])
def test_there_is_room_beside_requests_up_to_half_of_the_permits(limit: int, most: int) -> None:
    """And beside one always: it is the one that asks."""
    admission = Admission(limit, lambda _: None)
    room = [admission.has_room]
    with ExitStack() as held:
        for _ in range(limit):
            held.enter_context(admission.permit())
            room.append(admission.has_room)
    assert room == [True] * (most + 1) + [False] * (limit - most)
    assert admission.has_room
