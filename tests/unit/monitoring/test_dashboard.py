"""The dashboard's form: variables, places, legends, and that it shows what an operator asks for."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.compose import ROOT, read_yaml, services
from tests.support.monitoring import DASHBOARD, dashboard, drawn, grouped_by, metrics_in, mounted, panels

PROVISIONING = ROOT / "docker/grafana/provisioning"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_legend_names_what_the_series_are_told_apart_by(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        aggregated = bool(re.match(r"(?:1 - )?\(?(sum|min|max|histogram_quantile)\b", target["expr"]))
        wanted = grouped_by(target["expr"]) - {"le"} if aggregated else {"instance"}
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) == wanted


def test_the_dashboard_shows_what_an_operator_asks_for() -> None:
    shown = {metric for each in drawn() for metric in metrics_in(each.expression)}
    assert shown >= {
        "quorum_requests_total",
        "quorum_stage_seconds_bucket",
        "quorum_cascade_exits_total",
        "quorum_cascade_gflops_saved_total",
        "quorum_backbone_weight_sum",
        "quorum_cache_lookups_total",
        "quorum_errors_total",
        "quorum_tower_rows_total",
        "quorum_state_up",
        "quorum_job_running_seconds",
        "nv_inference_queue_duration_us",
    }


def test_panels_have_numbers_and_titles_of_their_own() -> None:
    every = dashboard()["panels"]
    for what in ("id", "title"):
        found = [panel[what] for panel in every]
        assert len(set(found)) == len(found)
    assert all(panel["description"].endswith(".") for panel in panels())


def test_panels_do_not_lie_on_each_other_and_leave_no_gap_above_them() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        assert place["y"] == 0 or (place["x"], place["y"] - 1) in taken, panel["title"]
        taken |= cells


def test_every_panel_asks_the_source_that_is_chosen() -> None:
    for panel in panels():
        assert panel["datasource"] == SOURCE
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEF"[: len(panel["targets"])])
        assert all(target["datasource"] == SOURCE for target in panel["targets"])


def test_every_variable_that_is_used_can_be_chosen_and_the_other_way_round() -> None:
    variables = {each["name"]: each for each in dashboard()["templating"]["list"]}
    text = DASHBOARD.read_text(encoding="utf-8")
    used = set(re.findall(r"\$\{?([a-z]\w*)", text)) - {"__rate_interval", "__all"}
    assert used == variables.keys() == {"datasource", "namespace", "job"}
    assert variables["datasource"]["query"] == "prometheus"
    # Where nothing has a namespace there is nothing to choose, and "All" still finds everything.
    assert variables["namespace"]["allValue"] == ".*"
    for name in ("namespace", "job"):
        assert metrics_in(variables[name]["definition"].replace("label_values(", "").replace(",", " ")) == {
            "quorum_inflight_requests"
        }


def test_grafana_finds_the_dashboard_and_its_source() -> None:
    (source,) = read_yaml(PROVISIONING / "datasources/prometheus.yaml")["datasources"]
    assert source["type"] == dashboard()["templating"]["list"][0]["query"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services()
    (provider,) = read_yaml(PROVISIONING / "dashboards/quorum.yaml")["providers"]
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/{DASHBOARD.name}"
    assert mounted("grafana", home) == DASHBOARD
