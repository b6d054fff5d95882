# NVIDIA's Triton with its native ONNX Runtime backend and the bundled zoo, for GPUs (and CPUs):
# docker build --file docker/triton.Dockerfile --tag quorum-triton .
# Another repository is mounted over /models. It must be the gateway's own: digests are compared.
FROM nvcr.io/nvidia/tritonserver:24.10-py3
LABEL org.opencontainers.image.title="Quorum's Triton server" \
      org.opencontainers.image.description="NVIDIA's Triton with the bundled zoo."
COPY model_repository /models
USER 1000:1000
EXPOSE 8000 8001 8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python3", "-I", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=4)"]
# Version 1 of every tower is loaded at the start and never changed: the gateway checks a server once per connection.
# Configurations are complete, so nothing is filled in that the gateway would not know of.
CMD ["tritonserver", "--model-repository=/models", "--model-control-mode=none", "--disable-auto-complete-config", \
     "--http-port=8000", "--grpc-port=8001", "--metrics-port=8002", "--exit-timeout-secs=25"]
