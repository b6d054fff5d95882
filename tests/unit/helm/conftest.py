"""`release`: the chart, rendered for each of the cases, once for all tests of a file. They leave it as it is."""

from __future__ import annotations

import pytest

from tests.support.chart_cases import CASES
from tests.support.manifests import Release


@pytest.fixture(params=CASES, scope="module")
def release(request: pytest.FixtureRequest) -> Release:
    return CASES[request.param].rendered()
