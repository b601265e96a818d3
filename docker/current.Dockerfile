# TensorRT-LLM as it is today, which takes checkpoints as they are (`build.flow = "pytorch"`). NVIDIA's Triton images end
# with 1.2.1, so Triton is copied beside it. Build it in the root of the repository:
#   docker build -f docker/current.Dockerfile -t conch-current .
# Both have CUDA 13.4. Conch runs on 1.3.0rc26 and later; take a Triton whose CUDA is not newer than that of TensorRT-LLM.
ARG TENSORRT_LLM=1.3.0rc28
ARG TRITON=26.09

FROM nvcr.io/nvidia/tritonserver:${TRITON}-py3 AS triton

FROM nvcr.io/nvidia/tensorrt-llm/release:${TENSORRT_LLM}

# What Triton's server and its Python backend are linked with: the packages and paths of TensorRT-LLM's own recipe for
# this (docker/common/install_triton.sh and the stage `tritondevel` of docker/Dockerfile.multi in its repository), less
# the headers and the caches, which Conch has no use for; licence and version as Triton's own compose.py takes them. A
# Triton that the image itself may have is not mixed with it. And ssh, by which mpirun reaches other machines.
# hadolint ignore=DL3008
RUN rm -rf /opt/tritonserver \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends --no-upgrade \
        datacenter-gpu-manager-4-cuda13 libarchive-dev libb64-dev libnuma-dev libre2-dev libxml2-dev pigz \
        openssh-client openssh-server \
    && rm -rf /var/lib/apt/lists/*
COPY --from=triton /opt/tritonserver/bin /opt/tritonserver/bin
COPY --from=triton /opt/tritonserver/lib /opt/tritonserver/lib
COPY --from=triton /opt/tritonserver/backends/python /opt/tritonserver/backends/python
COPY --from=triton /opt/tritonserver/LICENSE /opt/tritonserver/TRITON_VERSION /opt/tritonserver/

ENV PIP_NO_CACHE_DIR=1 PIP_BREAK_SYSTEM_PACKAGES=1
WORKDIR /opt/conch
COPY pyproject.toml README.md LICENSE ./
COPY build_scripts build_scripts
COPY triton_repo triton_repo
COPY gateway gateway
COPY launch launch
COPY bench bench
COPY engines engines
COPY docker/add_conch.sh docker/check_image.py docker/
# Editable, so that engines/ lies where the specs are written and mounted.
RUN docker/add_conch.sh constraints.txt

# Neither the hub's cache nor built engines belong into an image: mount something at /cache and at /opt/conch/engines.
# Only the first is a volume by itself: one at engines/built would hide the engines of a mounted engines/.
# Nothing here needs root. Any user may run it: HOME is a place that all can write to, and torch asks for a name.
ENV HOME=/cache HF_HOME=/cache/huggingface USER=conch
RUN mkdir --mode=1777 /cache && chown --recursive 1000:1000 engines
VOLUME ["/cache"]
USER 1000:1000
ARG TENSORRT_LLM
RUN python3 docker/check_image.py "$TENSORRT_LLM"

EXPOSE 9000
# Loading the weights of a large engine takes minutes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9000/health/ready', timeout=4)"]
# NVIDIA's entrypoint chooses CUDA's forward compatibility where the driver is older than the image, and then becomes its
# arguments: signals arrive at `conch`, which passes them on and drains.
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh", "conch"]
CMD ["serve", "--help"]
