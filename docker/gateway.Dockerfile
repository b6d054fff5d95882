# The gateway with the bundled zoo: docker build --file docker/gateway.Dockerfile --tag quorum-gateway .
# EXTRAS=cpu,lite,tracing runs alone (towers and galleries in the process); EXTRAS=tracing needs Triton and, for
# galleries, Milvus.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG EXTRAS=cpu,lite,tracing
WORKDIR /src
RUN python -m venv /opt/quorum
# What changes seldom comes first: an edited line of ours installs no dependency again.
COPY pyproject.toml docker/requirements.py ./
RUN python requirements.py --extras "${EXTRAS}" > requirements.txt \
    && /opt/quorum/bin/pip install --no-cache-dir --requirement requirements.txt
COPY README.md LICENSE NOTICE ./
COPY service service
# Tests and headers of dependencies are a tenth of the image, and pip is for building alone.
RUN /opt/quorum/bin/pip wheel --no-cache-dir --no-deps --wheel-dir dist . \
    && /opt/quorum/bin/pip install --no-cache-dir --no-deps dist/*.whl \
    && /opt/quorum/bin/pip uninstall --yes pip setuptools \
    && find /opt/quorum/lib -depth -type d \( -name tests -o -path '*/pyarrow/include' \) -exec rm -rf {} +

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Quorum gateway" \
      org.opencontainers.image.description="A committee of CLIP backbones behind one API." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The base image's own pip as well: nothing is installed in a running container.
RUN rm -rf /usr/local/lib/python3.11/site-packages /usr/local/lib/python3.11/ensurepip /usr/local/bin/pip* \
    && install --directory --owner=10001 --group=10001 /srv/quorum/var
COPY --from=build /opt/quorum /opt/quorum
COPY LICENSE NOTICE /srv/quorum/
COPY model_repository /srv/quorum/model_repository
WORKDIR /srv/quorum
# HOME, since the user has no entry in /etc/passwd; the root file system may be read-only, /tmp and var are written to.
# A container is stopped behind a load balancer more often than not, and ours finds out in two seconds.
ENV PATH=/opt/quorum/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    QUORUM_HOST=0.0.0.0 \
    QUORUM_DRAIN_DELAY_S=3
USER 10001:10001
VOLUME ["/srv/quorum/var"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-I", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('QUORUM_PORT', 8000)}/readyz\", timeout=4)"]
ENTRYPOINT ["quorum"]
CMD ["serve"]
