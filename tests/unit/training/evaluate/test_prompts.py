"""Templates by kind of picture."""

from __future__ import annotations

import pytest

from service.pipeline.labels import DEFAULT_TEMPLATES, PLACEHOLDER
from training.evaluate.prompts import KIND_OF_SOURCE, TEMPLATES, templates_of

pytestmark = pytest.mark.torch


def test_every_template_has_a_place_for_the_class() -> None:
    for templates in TEMPLATES.values():
        assert all(template.count(PLACEHOLDER) == 1 for template in templates)
        assert len(set(templates)) == len(templates)


def test_every_kind_has_templates_and_every_template_a_kind() -> None:
    assert set(KIND_OF_SOURCE.values()) | {"photo"} == set(TEMPLATES)


def test_a_source_that_nobody_named_gets_the_gateways_own_template() -> None:
    assert templates_of("new") == DEFAULT_TEMPLATES
