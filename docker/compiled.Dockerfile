# TensorRT-LLM 1.2.1, the last release that compiles engines, in the last of NVIDIA's Triton images that has it. Frozen: a
# compiled engine runs only under the version that compiled it. Build it in the root of the repository:
#   docker build -f docker/compiled.Dockerfile -t conch-compiled .
FROM nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3

# By ssh mpirun reaches the other machines of an engine that is split over several.
# hadolint ignore=DL3008
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends openssh-client openssh-server \
    && rm -rf /var/lib/apt/lists/*

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
RUN python3 docker/check_image.py 1.2.1

EXPOSE 9000
# Loading the weights of a large engine takes minutes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9000/health/ready', timeout=4)"]
# NVIDIA's entrypoint chooses CUDA's forward compatibility where the driver is older than the image, and then becomes its
# arguments: signals arrive at `conch`, which passes them on and drains.
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh", "conch"]
CMD ["serve", "--help"]
