"""The alerts: each is seen to fire and to stay silent, and says what it means and what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.compose import ROOT, read_yaml
from tests.support.monitoring import ALERTS, alerts, metrics_in
from tests.support.prometheus import promtool

CASES = Path(__file__).with_name("alerts_test.yml")
NAMES = sorted({rule["alert"] for rule in alerts()})


def told(rule: dict[str, Any]) -> tuple[str, str]:
    """What alerts are told apart by: two may have one name and different severity."""
    return rule["alert"], rule["labels"]["severity"]


def expectations() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each with the case that it is part of."""
    return [(case, expected) for case in read_yaml(CASES)["tests"] for expected in case["alert_rule_test"]]


def fires(expected: dict[str, Any], severity: str) -> bool:
    return any(each["exp_labels"]["severity"] == severity for each in expected["exp_alerts"])


def test_alerts_fire_when_they_should_and_are_silent_when_they_should(tmp_path: Path) -> None:
    rules = read_yaml(ALERTS)
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["annotations"] = {"summary": rule["annotations"]["summary"]}
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    (tmp_path / CASES.name).write_bytes(CASES.read_bytes())
    assert "SUCCESS" in promtool("test", "rules", tmp_path / CASES.name)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: "-".join(told(rule)))
def test_an_alert_is_seen_to_fire_and_to_stay_silent(rule: dict[str, Any]) -> None:
    name, severity = told(rule)
    about = [(case, expected) for case, expected in expectations() if expected["alertname"] == name]
    # Silence proves something where the series are there that the alert looks at.
    wanted = metrics_in(rule["expr"])
    seen = {fires(expected, severity) for case, expected in about if wanted <= given(case)}
    assert seen == {True, False}


def given(case: dict[str, Any]) -> set[str]:
    return {each["series"].partition("{")[0] for each in case["input_series"]}


def test_no_two_alerts_are_told_alike() -> None:
    every = [told(rule) for rule in alerts()]
    assert len(set(every)) == len(every)


def test_every_trouble_that_an_operator_must_hear_of_has_an_alert() -> None:
    assert set(NAMES) >= {
        "QuorumErrors",
        "QuorumSlow",
        "QuorumQueue",
        "QuorumSheds",
        "QuorumDegraded",
        "QuorumPromiseBroken",
        "QuorumBackboneDown",
        "QuorumJobStuck",
        "QuorumStateDown",
        "QuorumNoGateway",
    }


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: "-".join(told(rule)))
def test_an_alert_says_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert re.fullmatch(r"\d+m", rule["for"])
    notes = rule["annotations"]
    assert notes.keys() == {"summary", "description", "runbook"}
    assert notes["summary"].endswith(".")
    assert notes["description"].endswith(".")
    assert "{{" not in notes["description"]  # not seen by the cases above
    assert notes["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"


@pytest.mark.parametrize("name", NAMES)
def test_the_operators_handbook_has_a_section_on_every_alert(name: str) -> None:
    path, _, _ = alerts()[0]["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (\w+)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    assert name in headings
