"""Settings: read once from the environment, refused in one sentence that names the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.settings import Settings, TracingSettings, usable_cores


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"QUORUM_{name.upper()}", raising=False)


def test_without_an_environment_there_are_defaults() -> None:
    settings = Settings.from_environment()
    assert (settings.host, settings.port, settings.engine) == ("127.0.0.1", 8000, "onnx")
    assert settings.api_keys_file is None
    assert settings.default_deadline_ms <= settings.max_deadline_ms


def test_every_setting_is_described() -> None:
    for name, field in Settings.model_fields.items():
        assert (field.description or "").endswith("."), name


def test_every_limit_is_positive_and_every_time_finite_by_default() -> None:
    settings = Settings.from_environment()
    for name in Settings.model_fields:
        if name == "drain_delay_s":  # nobody need be waited for
            assert settings.drain_delay_s == 0
        elif name.startswith("max_") or name.endswith(("_s", "_ms", "_bytes")):
            assert 0 < getattr(settings, name) < float("inf"), name


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected"),
    [
        ("QUORUM_PORT", "0", "port", 0),
        ("QUORUM_MODEL_REPOSITORY", "/models", "model_repository", Path("/models")),
        ("QUORUM_CACHE_MAX_BYTES", "0", "cache_max_bytes", 0),
        ("QUORUM_EXECUTION_PROVIDERS", "A, B,", "execution_providers", ("A", "B")),
        ("QUORUM_TRITON_URLS", "triton:8001, [::1]:9001", "triton_urls", ("triton:8001", "[::1]:9001")),
        ("quorum_log_level", "debug", "log_level", "debug"),
    ],
)
def test_a_variable_sets_its_setting(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, name: str, expected: object
) -> None:
    monkeypatch.setenv(variable, value)
    assert getattr(Settings.from_environment(), name) == expected


@pytest.mark.parametrize("variable", ["QUORUM_CLIENT_API_KEY", "QUORUM_GALLERIES_TOKEN", "QUORUM_CACHE_URL"])
def test_secrets_are_never_shown(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "redis://:the-secret@redis")
    settings = Settings.from_environment()
    assert "the-secret" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize("variable", ["QUORUM_STATE_URL", "QUORUM_CACHE_URL"])
def test_a_password_in_an_address_is_never_shown(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "redis://:s3cret@host:6379/0")
    settings = Settings.from_environment()
    assert "s3cret" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert "s3cret" in getattr(settings, variable.removeprefix("QUORUM_").lower()).get_secret_value()


def test_a_secret_that_is_refused_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORUM_STATE_URL", "")
    with pytest.raises(ConfigurationError, match=r"^QUORUM_STATE_URL: .*names nothing") as raised:
        Settings.from_environment()
    assert "set to" not in raised.value.message
    assert raised.value.__cause__ is None


def test_the_earlier_name_of_the_state_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORUM_STATE_PATH", "var/quorum.sqlite3")
    with pytest.raises(ConfigurationError, match=r"QUORUM_STATE_PATH: it is called QUORUM_STATE_URL now"):
        Settings.from_environment()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("QUORUM_PORT", "many"),
        ("QUORUM_PORT", "65536"),
        ("QUORUM_PORT", "-1"),
        ("QUORUM_ENGINE", "tensorflow"),
        ("QUORUM_LOG_LEVEL", "loud"),
        ("QUORUM_MAX_IMAGES", "0"),
        ("QUORUM_MAX_BODY_BYTES", "32MB"),
        ("QUORUM_BODY_TIMEOUT_S", "0"),
        ("QUORUM_BODY_TIMEOUT_S", "nan"),
        ("QUORUM_CACHE_MAX_BYTES", "-1"),
        ("QUORUM_CACHE_TTL_S", ""),
        ("QUORUM_MAX_DEADLINE_MS", "9999"),
        ("QUORUM_TRITON_URLS", "triton"),
        ("QUORUM_TRITON_URLS", "http://triton:8001"),
        ("QUORUM_TRITON_URLS", ":8001"),
        ("QUORUM_TRITON_URLS", "triton:0"),
        ("QUORUM_DRAIN_DELAY_S", "-1"),
        ("QUORUM_DRAIN_DELAY_S", "inf"),
    ],
)
def test_a_wrong_value_is_named_with_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as raised:
        Settings.from_environment()
    assert raised.value.message.startswith(f"{variable}: ")
    assert value in raised.value.message


def test_a_default_deadline_beyond_the_longest_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # Every request that names no deadline would be a 422.
    monkeypatch.setenv("QUORUM_DEFAULT_DEADLINE_MS", "60001")
    with pytest.raises(ConfigurationError, match=r"QUORUM_MAX_DEADLINE_MS.*QUORUM_DEFAULT_DEADLINE_MS"):
        Settings.from_environment()


def test_other_variables_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORUM_NO_SUCH_SETTING", "1")
    monkeypatch.setenv("PORT", "1")
    assert Settings.from_environment().port == 8000


def test_threads_come_from_the_cores_unless_they_are_set() -> None:
    assert Settings().session_threads == max(1, usable_cores() // 2)
    assert Settings().decoder_threads == usable_cores()
    assert (Settings(intra_op_threads=3).session_threads, Settings(decode_threads=5).decoder_threads) == (3, 5)


def test_settings_do_not_change_while_a_process_runs() -> None:
    settings = Settings()
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, "port", 1)  # noqa: B010  # written as an assignment, the type checker refuses it first


@pytest.mark.parametrize("value", ["", " "])
@pytest.mark.parametrize("variable", ["QUORUM_API_KEYS_FILE", "QUORUM_CACHE_URL"])
def test_what_is_set_to_nothing_is_not_passed_over(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=rf"{variable}: .*names nothing"):
        Settings.from_environment()


@pytest.mark.parametrize("name", ["QUORUM_API_KEYS", "quorum_api_keys"])
def test_the_variable_that_keys_used_to_be_in_does_not_leave_the_server_open(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "the-secret")
    with pytest.raises(ConfigurationError, match="QUORUM_API_KEYS_FILE") as raised:
        Settings.from_environment()
    assert "the-secret" not in raised.value.message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_SDK_DISABLED", "perhaps"),
    ],
)
def test_a_wrong_variable_of_opentelemetrys_is_named_as_well(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as raised:
        TracingSettings.from_environment()
    assert raised.value.message.startswith(f"{variable}: ")
    assert value in raised.value.message
    Settings.from_environment()


@pytest.mark.parametrize(
    "off", [{}, {"OTEL_SDK_DISABLED": "True"}, {"OTEL_TRACES_EXPORTER": "none"}], ids=["nowhere", "disabled", "none"]
)
def test_what_a_platform_sets_for_all_its_programs_stops_no_gateway_that_traces_nothing(
    monkeypatch: pytest.MonkeyPatch, off: dict[str, str]
) -> None:
    address = {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"} if off else {}
    for name, value in {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", **address, **off}.items():
        monkeypatch.setenv(name, value)
    assert TracingSettings.from_environment().url is None


def test_every_setting_of_tracing_is_described() -> None:
    for name, field in TracingSettings.model_fields.items():
        assert (field.description or "").endswith("."), name
