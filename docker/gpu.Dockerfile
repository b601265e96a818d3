# Conch on NVIDIA GPUs. Build it in the repository:  docker build -f docker/gpu.Dockerfile -t conch-gpu .
#
# The tag is pinned: 26.07 brings TensorRT-LLM 1.2.1, the last release with trtllm-build and compiled engines. A
# compiled engine runs only under the version that compiled it, so a new tag means compiling all engines again.
FROM nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3

# The spine and the gateway alone. The image's own versions are the constraints, here and of every later `pip install`:
# pip adds what is missing, and moves nothing that TensorRT-LLM brought (torch, transformers, fastapi, numpy).
ENV PIP_NO_CACHE_DIR=1 PIP_BREAK_SYSTEM_PACKAGES=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/conch
COPY pyproject.toml README.md LICENSE ./
COPY build_scripts build_scripts
COPY triton_repo triton_repo
COPY gateway gateway
COPY launch launch
COPY bench bench
COPY engines engines
# Editable, so that engines/ lies where the specs are written and mounted.
RUN pip list --format freeze > constraints.txt \
    && pip install --constraint constraints.txt --editable '.[gateway]' 'jinja2>=3.1'

# Neither the hub's cache nor built engines belong into an image: mount something at /cache and at /opt/conch/engines.
# Only the first is a volume by itself: one at engines/built would hide the engines of a mounted engines/.
ENV HF_HOME=/cache/huggingface
VOLUME ["/cache"]
EXPOSE 9000
# Loading the weights of a large engine takes minutes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9000/health/ready', timeout=4)"]
# NVIDIA's entrypoint makes the link to CUDA's forward compatibility where the driver is older than the image, and then
# becomes its arguments: signals arrive at `conch`, which passes them on and drains.
ENTRYPOINT ["/opt/nvidia/nvidia_entrypoint.sh", "conch"]
CMD ["serve", "--help"]
