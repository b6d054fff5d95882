"""Every setting, read once from the environment (`QUORUM_…`) and passed on. Nothing else reads the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import Field, PositiveFloat, PositiveInt, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import ConfigurationError
from service.policies import LogLevel

MIB = 1 << 20
HTTP_URL: Final = r"^https?://[^/]"
TRACED_TO: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
GONE = "QUORUM_API_KEYS"
"""What an earlier form of these settings called the keys."""
MOVED = "QUORUM_STATE_PATH"
"""What an earlier form called the place of state."""


def usable_cores() -> int:
    """Cores that this process may run on (affinity, not the machine's count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


T = TypeVar("T", bound=BaseSettings)


def _from_environment(kind: type[T]) -> T:
    """Raises `ConfigurationError`, naming the variable."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(map(str, first["loc"][:1]))
        secret = "SecretStr" in str(kind.model_fields[name].annotation)
        shown = "" if secret else f" (it is set to {first['input']!r})"
        variable = f"{kind.model_config['env_prefix']}{name}".upper()
        # Without its cause, which quotes the input too.
        raise ConfigurationError(f"{variable}: {first['msg']}{shown}") from (None if secret else error)


class TracingSettings(BaseSettings):
    """OpenTelemetry's own variables, as far as they say whether and where to spans are sent. Its SDK reads the rest."""

    model_config = SettingsConfigDict(env_prefix="OTEL_", extra="ignore", env_ignore_empty=True, frozen=True)

    exporter_otlp_endpoint: str | None = Field(
        None,
        pattern=HTTP_URL,
        description="Address of an OTLP collector, as in http://collector:4318. Where it is set, requests are traced, "
        "for which the extra `tracing` has to be installed.",
    )
    exporter_otlp_traces_endpoint: str | None = Field(
        None, pattern=HTTP_URL, description="The same for traces alone, with its path: http://collector:4318/v1/traces."
    )
    exporter_otlp_protocol: Literal["http/protobuf"] = Field(
        "http/protobuf", description="The one protocol that is spoken."
    )
    exporter_otlp_traces_protocol: Literal["http/protobuf"] = Field(
        "http/protobuf", description="The same for traces alone."
    )
    traces_exporter: Literal["otlp", "none"] = Field("otlp", description="`none`: nothing is traced.")
    sdk_disabled: bool = Field(False, description="`true`: nothing is traced.")

    @classmethod
    def from_environment(cls) -> TracingSettings:
        """Raises `ConfigurationError`, naming the variable. Where nothing is to be traced, none can be wrong: a
        platform may set them for all that it runs."""
        given = {name.upper(): value for name, value in os.environ.items()}
        off = given.get("OTEL_SDK_DISABLED", "").lower() == "true" or given.get("OTEL_TRACES_EXPORTER") == "none"
        if off or not any(given.get(name) for name in TRACED_TO):
            return cls.model_construct()
        return _from_environment(cls)

    @property
    def url(self) -> str | None:
        """Where spans are sent to; None: requests are not traced."""
        if self.sdk_disabled or self.traces_exporter == "none":
            return None
        base = self.exporter_otlp_endpoint
        return self.exporter_otlp_traces_endpoint or (base and f"{base.removesuffix('/')}/v1/traces")


class Settings(BaseSettings):
    """Names carry their units; the field descriptions are the documentation (`docs/settings.md` is made from them)."""

    model_config = SettingsConfigDict(env_prefix="QUORUM_", extra="ignore", frozen=True)

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    model_repository: Path = Field(Path("model_repository"), description="Folder of the towers to serve.")
    state_url: SecretStr = Field(
        SecretStr("var/quorum.sqlite3"),
        description="Where label sets, controllers, cascades and jobs are kept: a SQLite file's path, for gateways of "
        "one machine, or a Redis server, for gateways of several: redis://:PASSWORD@HOST:6379/0, rediss:// (TLS) or "
        "unix:///PATH.",
    )
    galleries_url: str = Field(
        "var/galleries.db",
        min_length=1,
        description="Where galleries are kept: a path that ends in .db for Milvus Lite in this process (of one process "
        "alone), http(s)://HOST:PORT for a Milvus server, `off` for none.",
    )
    galleries_token: SecretStr | None = Field(
        None, description="Sent to the Milvus server: a token, or user and password with a colon between them."
    )
    api_keys_file: Path | None = Field(
        None,
        description="TOML file of the keys of which callers of /v1 must send one as a bearer token, made by `quorum "
        "keys new`, and read again when it changes. Not set: open.",
    )
    log_level: LogLevel = Field(
        "info", description="Least severe level logged; `PUT /v1/admin/log-level` changes it in a running process."
    )

    engine: Literal["onnx", "triton", "fake"] = Field(
        "onnx",
        description="What executes the towers: ONNX Runtime in this process, or Triton servers on the same model "
        "repository; `fake` is for tests.",
    )
    triton_urls: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1:8001",),
        description="gRPC addresses of Triton servers, HOST:PORT, comma-separated. A name with several addresses "
        "stands for as many servers.",
    )
    triton_start_wait_s: PositiveFloat = Field(
        10.0, description="How long a start waits for a Triton server before it goes on without one."
    )
    triton_max_rows: PositiveInt = Field(
        512,
        description="Most rows of one tower on their way to Triton; more wait here, where their deadlines are known.",
    )
    execution_providers: Annotated[tuple[str, ...], NoDecode] = Field(
        ("CPUExecutionProvider",), description="ONNX Runtime's providers, comma-separated, in order of preference."
    )
    intra_op_threads: int = Field(
        0, ge=0, description="Threads of one ONNX Runtime session; 0 gives every session half of the cores, at least 1."
    )
    max_batch_rows: PositiveInt = Field(
        8, description="Most rows of one ONNX Runtime call, besides a tower's own `max_batch_size`; raise it on a GPU."
    )
    decode_threads: int = Field(0, ge=0, description="Threads that decode images; 0 means one per core.")

    max_body_bytes: PositiveInt = Field(32 * MIB, description="Largest request body.")
    max_image_bytes: PositiveInt = Field(16 * MIB, description="Largest image, as sent.")
    max_image_pixels: PositiveInt = Field(50_000_000, description="Largest width times height of an image.")
    max_images: PositiveInt = Field(64, description="Most images in one request.")
    max_labels: PositiveInt = Field(1_000, description="Most labels in a request or a label set.")
    max_prompts: PositiveInt = Field(10_000, description="Most prompts (phrasings times templates) of a label set.")
    max_label_characters: PositiveInt = Field(300, description="Longest label, phrasing or template.")
    max_texts: PositiveInt = Field(1_000, description="Most texts in one embeddings request.")
    max_text_characters: PositiveInt = Field(2_000, description="Longest text in an embeddings request.")

    max_queries: PositiveInt = Field(64, le=1_000, description="Most queries in one search of a gallery.")
    max_top_k: PositiveInt = Field(1_000, description="Most hits of one query, and most items of a page of a gallery.")
    max_hits: PositiveInt = Field(10_000, description="Most hits in one search, those of all its queries together.")
    max_items: PositiveInt = Field(
        1_000,
        le=10_000,
        description="Most items in one call that adds to a gallery; of them at most `max_images` images.",
    )
    max_gallery_fields: PositiveInt = Field(32, description="Most fields of a gallery.")
    max_field_characters: PositiveInt = Field(1_000, le=16_000, description="Longest string in a field of an item.")

    default_deadline_ms: PositiveInt = Field(10_000, description="A request's deadline when it names none.")
    max_deadline_ms: PositiveInt = Field(
        60_000, validate_default=True, description="Longest deadline that a request may ask for."
    )
    max_inflight_requests: PositiveInt = Field(128, description="Requests worked on at once; one more is a 429.")
    body_timeout_s: PositiveFloat = Field(20.0, description="How long a caller may take to send a body.")
    drain_delay_s: float = Field(
        0.0,
        ge=0,
        le=300,
        description="How long requests are still taken after a SIGTERM, while `/readyz` is 503 and every answer closes "
        "its connection. Behind a load balancer it has to be longer than that takes to send callers elsewhere.",
    )
    drain_timeout_s: PositiveFloat = Field(25.0, description="How long requests in flight may finish on shutdown.")

    max_job_images: PositiveInt = Field(20_000, description="Most images of one fit or calibration.")
    max_job_body_bytes: PositiveInt = Field(256 * MIB, description="Largest body of a fit or calibration request.")
    job_body_timeout_s: PositiveFloat = Field(120.0, description="How long a caller may take to send such a body.")
    max_queued_jobs: PositiveInt = Field(
        8, description="Jobs that wait to be run, with their images in memory; one more is a 429."
    )
    job_timeout_s: PositiveFloat = Field(600.0, description="How long a job may run before it is stopped.")
    job_ttl_s: PositiveFloat = Field(604_800.0, description="How long a finished job can be asked about.")
    max_finished_jobs: PositiveInt = Field(1_000, description="Most finished jobs that are kept; the oldest leave.")
    max_earlier_versions: PositiveInt = Field(
        5, description="Versions of a controller or cascade that are kept beside the newest, those that served last."
    )

    shadow_rate: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of images sent to cascades that are checked against the full committee, after they were "
        "answered; 0 switches the checks off.",
    )
    shadow_gflops_per_s: PositiveFloat = Field(
        10.0, description="Budget of these checks; what goes beyond it is left out and counted."
    )

    cache_url: SecretStr | None = Field(
        None,
        description="Redis server that keeps embeddings for several gateways, behind each one's own cache: "
        "redis://HOST:6379/0, rediss:// or unix://. Not the one of the state: a cache evicts, state must not.",
    )
    cache_max_bytes: int = Field(
        256 * MIB, ge=0, description="Size of the embedding cache in this process; 0 switches it off."
    )
    cache_ttl_s: PositiveFloat = Field(
        3_600.0, description="How long an embedding is kept, in this process and in Redis each."
    )
    label_cache_max_bytes: PositiveInt = Field(128 * MIB, description="Size of the cache of label matrices.")

    client_url: str | None = Field(
        None, description="Server that the command line talks to; without one it works in its own process."
    )
    client_api_key: SecretStr | None = Field(None, description="Key that the command line sends to that server.")

    @classmethod
    def from_environment(cls) -> Self:
        """Raises `ConfigurationError`, naming the variable."""
        if any(name.upper() == GONE for name in os.environ):
            # Passed over in silence it would leave the server open.
            raise ConfigurationError(
                f"{GONE}: keys are in a file now. Make it with `quorum keys new NAME --file FILE`, name it in "
                "QUORUM_API_KEYS_FILE, and remove this variable."
            )
        if any(name.upper() == MOVED for name in os.environ):
            # Passed over in silence, everything that was stored would seem to be lost.
            raise ConfigurationError(f"{MOVED}: it is called QUORUM_STATE_URL now, and may name a Redis server too.")
        return _from_environment(cls)

    @field_validator("api_keys_file", "cache_url", "state_url", mode="before")
    @classmethod
    def _names_something(cls, value: object) -> object:
        if isinstance(value, str) and not value.strip():  # a secret that was not mounted must not open the server
            raise ValueError("it is set but names nothing; remove the variable or give it a value")
        return value

    @field_validator("execution_providers", "triton_urls", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = tuple(part.strip() for part in value.split(",") if part.strip())
        if not parts:
            raise ValueError("it is set but names nothing; remove the variable or give it a value")
        return parts

    @field_validator("triton_urls")
    @classmethod
    def _names_hosts_and_ports(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        for url in urls:
            host, _, port = url.rpartition(":")
            if not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65_536:
                raise ValueError(f'"{url}" is not HOST:PORT, such as 127.0.0.1:8001')
        return urls

    @field_validator("max_deadline_ms")
    @classmethod
    def _admits_the_default(cls, longest: int, info: ValidationInfo) -> int:
        if longest < info.data.get("default_deadline_ms", longest):
            raise ValueError("is less than QUORUM_DEFAULT_DEADLINE_MS, so that every request would be refused")
        return longest

    @property
    def session_threads(self) -> int:
        return self.intra_op_threads or max(1, usable_cores() // 2)

    @property
    def decoder_threads(self) -> int:
        return self.decode_threads or usable_cores()
