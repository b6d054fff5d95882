# Training, evaluation and export, on GPUs where there are some:
# docker build --file docker/training.Dockerfile --tag quorum-training .
# docker run --gpus all --user "$(id -u):$(id -g)" --volume "$PWD/shared:/workspace/shared:ro" --volume "$PWD/runs:/workspace/runs" \
#   quorum-training train training/configs/resnet-l.toml --data shared
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv /opt/quorum
COPY pyproject.toml docker/requirements.py ./
# The pinned torch brings CUDA's libraries along (some 5 GB) and runs on the CPU as well.
RUN python requirements.py --extras cpu,training > requirements.txt \
    && /opt/quorum/bin/pip install --no-cache-dir --requirement requirements.txt \
    && /opt/quorum/bin/pip uninstall --yes pip

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Quorum training" \
      org.opencontainers.image.description="Trains, evaluates and exports zoos for Quorum." \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/quorum /opt/quorum
WORKDIR /workspace
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY service service
COPY training training
COPY model_repository model_repository
ENV PATH=/opt/quorum/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp
USER 10001:10001
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]
