"""Prometheus' configuration beside compose.yaml: it asks services that there are, and finds the alerts."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.support.compose import read_yaml, services
from tests.support.monitoring import ALERTS, SCRAPING, alerts, drawn, filled, mounted
from tests.support.prometheus import promtool


def test_prometheus_asks_services_that_there_are() -> None:
    config = read_yaml(SCRAPING)
    asked = {
        name for job in config["scrape_configs"] for each in job.get("dns_sd_configs", []) for name in each["names"]
    }
    asked |= {
        target.partition(":")[0]
        for job in config["scrape_configs"]
        for each in job.get("static_configs", [])
        for target in each["targets"]
    }
    assert asked == {"gateway", "triton", "proxy", "milvus"}
    assert asked <= services().keys()


def test_prometheus_is_given_the_alerts() -> None:
    assert [mounted("prometheus", path) for path in read_yaml(SCRAPING)["rule_files"]] == [ALERTS]
    assert "--config.file=/etc/prometheus/prometheus.yml" in services()["prometheus"]["command"]
    assert mounted("prometheus", "/etc/prometheus/prometheus.yml") == SCRAPING


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    config = read_yaml(SCRAPING)
    config["rule_files"] = [str(mounted("prometheus", path)) for path in config["rule_files"]]
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    assert f"{len(alerts())} rules found" in promtool("check", "config", path)


def test_prometheus_parses_what_the_dashboard_asks(tmp_path: Path) -> None:
    """As recording rules, the form in which promtool looks at expressions."""
    rules = [{"record": f"drawn:{index}", "expr": filled(each.expression)} for index, each in enumerate(drawn())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "drawn", "rules": rules}]}), encoding="utf-8")
    assert f"{len(rules)} rules found" in promtool("check", "rules", path)
