# Triton on the CPU, from what pip installs (serve.py says how), with the bundled zoo:
# docker build --file docker/triton-cpu.Dockerfile --tag quorum-triton-cpu .
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv /opt/triton/venv
COPY docker/triton/requirements.txt pyproject.toml docker/requirements.py ./
# The server's wheel is a box of binaries: what its Python packages would need is left out.
RUN /opt/triton/venv/bin/pip install --no-cache-dir --no-deps --no-compile --target /opt/triton/wheel \
        --requirement requirements.txt \
    && python requirements.py --packages numpy,onnxruntime > backend.txt \
    && /opt/triton/venv/bin/pip install --no-cache-dir --requirement backend.txt \
    && /opt/triton/venv/bin/pip uninstall --yes pip setuptools
COPY docker/triton /opt/triton
# Laid out here and not at the start: then the root file system can be read-only.
RUN PYTHONPATH=/opt/triton python -c "from pathlib import Path; import serve; serve.assemble(Path('/opt/triton/wheel'), Path('/opt/triton/tree'))"

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Quorum's Triton server for the CPU" \
      org.opencontainers.image.description="Triton from a wheel, with ONNX Runtime as a Python-based backend." \
      org.opencontainers.image.licenses="Apache-2.0 AND BSD-3-Clause"
RUN rm -rf /usr/local/lib/python3.11/site-packages /usr/local/lib/python3.11/ensurepip /usr/local/bin/pip*
COPY --from=build /opt/triton /opt/triton
COPY model_repository /models
ENV PATH=/opt/triton/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
WORKDIR /tmp
USER 10001:10001
EXPOSE 8000 8001 8002
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-I", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
ENTRYPOINT ["python", "/opt/triton/serve.py", "--wheel", "/opt/triton/wheel", "--tree", "/opt/triton/tree", "--repository", "/models"]
CMD ["--host", "0.0.0.0"]
