"""What holds for every release, whatever its values: rendered over all cases, and examined."""

from __future__ import annotations

import pytest

from service.settings import Settings
from tests.support import manifest_checks
from tests.support.manifest_checks import Check
from tests.support.manifests import SCALED, Pod, Release, title
from tests.support.pod_security import violations
from tests.support.references import references_exist

PREFIX = "QUORUM_"
CLOSING_S = 6.0
"""What a gateway takes at most from the last answer to its end (docs/decisions/0020-tracing.md)."""


@pytest.mark.parametrize("check", manifest_checks.ALL, ids=lambda check: check.__name__)
def test_manifests_fit_together(release: Release, check: Check) -> None:
    assert list(check(release)) == []


def test_everything_named_is_there(release: Release) -> None:
    assert list(references_exist(release)) == []


def test_no_pod_breaks_the_restricted_standard(release: Release) -> None:
    assert [words for pod in release.pods for words in violations(pod)] == []


def test_variables_are_settings_and_their_values_are_taken(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    gateways = release.of_component("gateway")
    assert gateways
    for pod in gateways:
        for container in pod.containers:
            given = {key: value for key, value in release.environment(container).items() if key.startswith(PREFIX)}
            assert {key.removeprefix(PREFIX).lower() for key in given} <= Settings.model_fields.keys()
            with monkeypatch.context() as environment:
                for name, value in given.items():
                    environment.setenv(name, value)
                Settings.from_environment()


def test_a_gateway_may_drain_before_it_is_killed(release: Release) -> None:
    for pod in release.of_component("gateway"):
        (container,) = pod.containers
        given = release.environment(container)
        drain_s = float(given.get("QUORUM_DRAIN_TIMEOUT_S", Settings.model_fields["drain_timeout_s"].default))
        delay_s = float(given["QUORUM_DRAIN_DELAY_S"])  # the image's, unless it is said
        assert pod.spec["terminationGracePeriodSeconds"] >= pause_s(pod) + delay_s + drain_s + CLOSING_S


def pause_s(pod: Pod) -> float:
    """How long its containers go on before they are told to end."""
    pauses = []
    for container in pod.containers:
        before = container["lifecycle"]["preStop"]
        words = before.get("exec", {}).get("command", [])
        numbers = [
            float(word) for each in words for word in each.replace("(", " ").replace(")", " ").split() if word.isdigit()
        ]
        pauses.append(float(before["sleep"]["seconds"]) if "sleep" in before else max(numbers))
    return max(pauses)


def test_what_serves_goes_on_for_a_while_when_it_is_to_end(release: Release) -> None:
    for pod in (*release.of_component("gateway"), *release.of_component("triton")):
        assert 0 < pause_s(pod) < pod.spec["terminationGracePeriodSeconds"]


def test_gpu_pools_ask_for_gpus_and_never_for_one_more_than_there_may_be(release: Release) -> None:
    for pod in release.of_component("triton"):
        resources = {name for each in pod.containers for name in each["resources"]["limits"]}
        asked = [name for name in resources if name.startswith("nvidia.com/")]
        on_a_gpu = "gpu" in pod.labels["quorum/pool"] or bool(asked)
        if not on_a_gpu:
            continue
        assert len(asked) == 1
        # Nodes with slices of GPUs have the taint of whole ones.
        assert {asked[0], "nvidia.com/gpu"} <= {each.get("key") for each in pod.spec["tolerations"]}
        rolling = pod.owner["spec"]["strategy"]["rollingUpdate"]
        assert (rolling["maxSurge"], rolling["maxUnavailable"]) == (0, 1)


def test_every_release_has_gateways_and_its_test(release: Release) -> None:
    kinds = {title(pod.owner).partition("/")[0] for pod in release.of_component("gateway")}
    assert kinds <= set(SCALED)
    assert len(release.of_component("gateway")) == 1
    assert [pod.is_test for pod in release.of_component("test")] == [True]
