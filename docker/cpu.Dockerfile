# Conch without a GPU: the same Triton, the same ensemble, the same gateway, on OpenVINO. Serves the demo engine.
#   docker build -f docker/cpu.Dockerfile -t conch-cpu . && docker run --rm --shm-size=1g -p 9000:9000 conch-cpu
FROM python:3.11-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/conch
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY build_scripts build_scripts
COPY triton_repo triton_repo
COPY gateway gateway
COPY launch launch
COPY bench bench
COPY engines engines
# torch from its CPU index: the default one brings several GB of CUDA that nothing here uses.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --constraint constraints.txt --extra-index-url "$TORCH_INDEX" --editable '.[cpu]'

# Nothing here needs root. The demo engine is built into the image, so that a container is ready in seconds.
RUN useradd --create-home --uid 1000 conch && chown --recursive conch /opt/conch/engines
USER 1000:1000
RUN conch build demo

EXPOSE 9000
HEALTHCHECK --interval=10s --timeout=5s --start-period=2m --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9000/health/ready', timeout=4)"]
ENTRYPOINT ["conch"]
CMD ["serve", "demo", "--host", "0.0.0.0"]
