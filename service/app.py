"""The composition root: the only file that names concrete engines and stores."""

from __future__ import annotations

import platform
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from fastapi_offline import FastAPIOffline

from service.api import (
    classify,
    embeddings,
    fitting,
    galleries,
    gallery_items,
    gallery_search,
    health,
    huggingface,
    jobs,
    keys,
    label_sets,
    log_level,
    models,
    playground,
)
from service.api.admission import Admission
from service.api.body_limits import BodyLimit, BodyLimitMiddleware
from service.api.context import ContextMiddleware
from service.api.errors import install_error_handlers
from service.api.openapi import install_openapi
from service.api.schemas import ErrorEnvelope
from service.api.services import Services
from service.blas import one_blas_thread
from service.engines.base import Engine
from service.engines.fake import FakeEngine
from service.engines.triton import TritonEngine, TritonOptions
from service.errors import ConfigurationError
from service.galleries.base import GalleryStore
from service.galleries.milvus import MilvusGalleries
from service.galleries.none import NoGalleries
from service.jobs.execution import JobLimits
from service.jobs.runner import JobRunner
from service.keys_file import KeysFile
from service.liveness import WatchedThreads
from service.observability.metrics.registry import Metrics
from service.observability.tracing import NoTracer, Tracer
from service.pipeline.classify import Classifier
from service.pipeline.embed import Embedder
from service.pipeline.embeddings import CommitteeEmbedder
from service.pipeline.evidence import Gatherer
from service.pipeline.fitted import FittedArtefacts
from service.pipeline.inputs.decode import ImageLimits
from service.pipeline.inputs.tokenize import TextTokenizer
from service.pipeline.label_matrices import LabelMatrices
from service.pipeline.planner import Planner
from service.pipeline.retrieval.ingest import Ingester
from service.pipeline.retrieval.search import Searcher
from service.pipeline.shadow_checks import ShadowChecks, ShadowLimits
from service.pipeline.shipped.generic import load_shipped
from service.pipeline.shipped.retrieval import load_shipped_retrieval
from service.repository import Zoo, load_zoo
from service.settings import Settings, TracingSettings
from service.stores.base import EmbeddingCache, RateLimits, Retention, State
from service.stores.limits import MemoryRateLimits
from service.stores.memory import MemoryEmbeddingCache
from service.stores.redis import RedisState
from service.stores.redis.advice import CacheAdvice
from service.stores.redis.breaker import Breaker
from service.stores.redis.cache import RedisEmbeddingCache
from service.stores.redis.connection import Limits, connect, is_redis
from service.stores.redis.limits import RedisRateLimits
from service.stores.sqlite import SqliteState
from service.stores.tiered import TieredEmbeddingCache

DISTRIBUTION = "quorum-serve"
BESIDE_S = 0.08
"""A request's wait for a Redis that it can do without: the cache's, and the state's for rate limits."""
BESIDE = Limits(connect_s=1.0, call_s=1.0)
NO_TELEMETRY: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""FastAPI's own, which would send what is wrong with a request, its contents quoted, to whatever is set up globally."""
ROUTED = (
    classify,
    embeddings,
    huggingface,
    label_sets,
    fitting,
    galleries,
    gallery_items,
    gallery_search,
    jobs,
    models,
    keys,
    log_level,
    health,
    playground,
)


def create_app(
    settings: Settings | None = None, *, engine: Engine | None = None, tracing: TracingSettings | None = None
) -> FastAPI:
    """The gateway. Settings come from the environment unless given; `engine` replaces the configured one (tests).
    Without `tracing` no request is traced.

    Raises `StartupError` before anything listens when the repository or a setting is wrong.
    """
    settings = settings or Settings.from_environment()
    metrics, tracer = Metrics(), _tracer(tracing)
    state = _state(settings, metrics)
    cache = _cache(settings, metrics)
    services, executor = _compose(settings, engine, state, cache, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as closing:
            # What is started first is closed last; what fails to start closes what was started before it.
            closing.push_async_callback(tracer.close)
            closing.enter_context(one_blas_thread())
            closing.callback(executor.shutdown, cancel_futures=True)
            closing.push_async_callback(state.close)
            await state.start()
            closing.push_async_callback(services.rate_limits.close)
            closing.push_async_callback(cache.close)
            await cache.start()
            closing.push_async_callback(services.galleries.close)
            await services.galleries.start()
            closing.push_async_callback(services.engine.close)
            await services.engine.start()
            closing.push_async_callback(services.matrices.close)
            await services.runner.start()
            closing.push_async_callback(services.runner.close)
            await services.shadow.start()
            closing.push_async_callback(services.shadow.close)
            services.ready = True
            yield
            services.admission.draining = True

    # The documentation page's scripts ship with the process: a cluster has no way to a public CDN.
    app = FastAPIOffline(
        redoc_url=None,
        title="Quorum",
        summary="A committee of CLIP backbones behind one API.",
        version=services.versions["quorum"],
        lifespan=lifespan,
        responses={"4XX": {"model": ErrorEnvelope}, "5XX": {"model": ErrorEnvelope}},
        telemetry=NO_TELEMETRY,
    )
    app.state.services = services
    for module in ROUTED:
        app.include_router(module.router)
    app.mount("/playground", playground.PlaygroundFiles(directory=playground.FOLDER), name="playground")
    install_error_handlers(app)
    install_openapi(app)
    app.add_middleware(
        BodyLimitMiddleware,
        limit=BodyLimit(settings.max_body_bytes, settings.body_timeout_s),
        special=[(fitting.PATHS, BodyLimit(settings.max_job_body_bytes, settings.job_body_timeout_s))],
    )
    admission = services.admission
    app.add_middleware(ContextMiddleware, requests=metrics.requests, tracer=tracer, leaving=lambda: admission.draining)
    return app


def _compose(
    settings: Settings, engine: Engine | None, state: State, cache: EmbeddingCache, metrics: Metrics
) -> tuple[Services, WatchedThreads]:
    zoo = load_zoo(settings.model_repository)
    shipped = load_shipped(settings.model_repository, zoo)
    generic = None if shipped is None else shipped.controller
    executor = WatchedThreads(settings.decoder_threads, "decode")
    engine = engine or _engine(settings, zoo, metrics)
    embedder = Embedder(
        engine=engine,
        cache=cache,
        tokenizers={backbone.text.name: TextTokenizer(backbone.text) for backbone in zoo.backbones},
        executor=executor,
        limits=ImageLimits(settings.max_image_bytes, settings.max_image_pixels),
        target_size=zoo.largest_image_size,
        observer=metrics.towers,
    )
    store = _galleries(settings)
    matrices = LabelMatrices(embedder, max_bytes=settings.label_cache_max_bytes)
    fitted = FittedArtefacts(state.artefacts, zoo, generic)
    admission = Admission(settings.max_inflight_requests, metrics.requests.inflight_changed)
    shadow_limits = ShadowLimits(settings.shadow_rate, settings.shadow_gflops_per_s)
    shadow = ShadowChecks(embedder, matrices, shadow_limits, lambda: admission.has_room, metrics.cascades)
    metrics.cascades.watch(shadow.worst)
    services = Services(
        settings=settings,
        keys=None if settings.api_keys_file is None else KeysFile(settings.api_keys_file, metrics.keys.read),
        rate_limits=_rate_limits(settings, metrics),
        zoo=zoo,
        shipped=shipped,
        retrieval=load_shipped_retrieval(settings.model_repository, zoo),
        engine=engine,
        label_sets=state.label_sets,
        artefacts=state.artefacts,
        jobs=state.jobs,
        runner=_runner(settings, state, metrics),
        matrices=matrices,
        fitted=fitted,
        gatherer=Gatherer(embedder, matrices, zoo.committee.backbones),
        planner=Planner(zoo, fitted, generic),
        classifier=Classifier(embedder, matrices),
        embeddings=CommitteeEmbedder(embedder),
        galleries=store,
        ingester=Ingester(embedder, store),
        searcher=Searcher(embedder, store),
        shadow=shadow,
        admission=admission,
        metrics=metrics,
        watched=(executor, shadow, state, cache),
        versions=_versions(),
    )
    return services, executor


def _state(settings: Settings, metrics: Metrics) -> State:
    retention = Retention(settings.max_earlier_versions, settings.job_ttl_s, settings.max_finished_jobs)
    url = _state_url(settings)
    if is_redis(url):
        return RedisState(url, retention, metrics.stores)
    if "://" in url:
        raise ConfigurationError("QUORUM_STATE_URL: give a file's path, or a URL of redis://, rediss:// or unix://.")
    return SqliteState(Path(url), retention)


def _cache(settings: Settings, metrics: Metrics) -> EmbeddingCache:
    near = MemoryEmbeddingCache(max_bytes=settings.cache_max_bytes, ttl_s=settings.cache_ttl_s)
    if settings.cache_url is None:
        return near
    url = settings.cache_url.get_secret_value()
    far = RedisEmbeddingCache(
        connect(url, variable="QUORUM_CACHE_URL", limits=BESIDE),
        Breaker("embedding cache", BESIDE_S, metrics.stores.shared_cache_failed),
        metrics.stores,
        ttl_s=settings.cache_ttl_s,
        advice=CacheAdvice.of(url, _state_url(settings)),
    )
    return TieredEmbeddingCache(near, far, metrics.stores)


def _rate_limits(settings: Settings, metrics: Metrics) -> RateLimits:
    alone = MemoryRateLimits()
    if not is_redis(_state_url(settings)):
        return alone
    client = connect(_state_url(settings), variable="QUORUM_STATE_URL", limits=BESIDE)
    return RedisRateLimits(client, Breaker("rate limits", BESIDE_S, metrics.stores.rate_limits_failed), alone)


def _state_url(settings: Settings) -> str:
    return settings.state_url.get_secret_value()


def _galleries(settings: Settings) -> GalleryStore:
    if settings.galleries_url == "off":
        return NoGalleries()
    token = settings.galleries_token
    return MilvusGalleries(settings.galleries_url, None if token is None else token.get_secret_value())


def _runner(settings: Settings, state: State, metrics: Metrics) -> JobRunner:
    runner = JobRunner(state.jobs, _job_limits(settings), metrics.jobs)
    metrics.jobs.watch(runner.running_s, settings.job_timeout_s)
    return runner


def _job_limits(settings: Settings) -> JobLimits:
    return JobLimits(settings.max_queued_jobs, settings.job_timeout_s, settings.drain_timeout_s)


def _engine(settings: Settings, zoo: Zoo, metrics: Metrics) -> Engine:
    if settings.engine == "fake":
        return FakeEngine(zoo)
    if settings.engine == "triton":
        options = TritonOptions(settings.triton_urls, settings.triton_start_wait_s, settings.triton_max_rows)
        return TritonEngine(zoo, options, metrics.towers)
    try:
        # Here, not above: the wheel comes with an extra, and a gateway on another engine needs none.
        from service.engines.onnx import OnnxEngine, OnnxOptions
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "ONNX Runtime is not installed. Install exactly one of the extras: pip install '.[cpu]' or '.[gpu]'."
        ) from error
    return OnnxEngine(
        zoo,
        OnnxOptions(settings.execution_providers, settings.session_threads, settings.max_batch_rows),
        metrics.towers,
    )


def _tracer(tracing: TracingSettings | None) -> Tracer:
    if tracing is None or tracing.url is None:
        return NoTracer()
    try:
        # Here, not above: its libraries come with an extra, and a gateway that traces nothing loads none of them.
        from service.observability.otlp import OtlpTracer
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "Requests are to be traced, by the variables OTEL_…, and OpenTelemetry's SDK is not "
            "installed. Install it with the extra: pip install 'quorum-serve[tracing]'; or remove the variables."
        ) from error
    try:
        return OtlpTracer(tracing.url, _versions()["quorum"])
    except ValueError as error:
        raise ConfigurationError(f"A variable OTEL_… has a value that OpenTelemetry's SDK refuses: {error}") from error


def _versions() -> dict[str, str]:
    """Of what an answer depends on."""
    names = {"quorum": DISTRIBUTION, "onnxruntime": "onnxruntime", "numpy": "numpy", "pillow": "pillow"}
    found = {"python": platform.python_version()}
    for name, distribution in names.items():
        try:
            found[name] = version(distribution)
        except PackageNotFoundError:
            found[name] = "none"
    return found
