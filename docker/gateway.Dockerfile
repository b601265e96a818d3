# The gateway alone, without CUDA, torch or Triton: a small sidecar of a Triton that Conch's engines run in.
# Conch's Triton listens on loopback only, so both share a network: one pod, or --network container:NAME. It needs
# `conch serve --expose-kserve`, and both the same key in CONCH_KSERVE_KEY.
#   docker build -f docker/gateway.Dockerfile -t conch-gateway .
FROM python:3.12-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/conch
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY triton_repo triton_repo
COPY gateway gateway
RUN pip install --constraint constraints.txt --editable '.[gateway]' && useradd --create-home --uid 1000 conch
USER 1000:1000

EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9000/health/live', timeout=4)"]
ENTRYPOINT ["python3", "-m", "gateway"]
CMD ["--host", "0.0.0.0", "--port", "9000", "--triton-grpc", "127.0.0.1:8001"]
