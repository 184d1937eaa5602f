# medi in a container. How it is built and run: docs/scaling.md.
#
#   docker build --tag medi:cpu --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
#   docker build --tag medi:cuda --build-arg BASE=nvidia/cuda:13.0.1-devel-ubuntu24.04 .
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# The compiler is DeepSpeed's and Triton's, at run time. A CUDA base has no Python of its own.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && if ! command -v python3; then \
        apt-get install --yes --no-install-recommends python3 python3-dev python3-venv; fi \
    && rm -rf /var/lib/apt/lists/*

RUN useradd --create-home --uid 10001 medi \
    && mkdir /data \
    && chown medi: /data \
    && python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

# The largest layer, and the one that changes least. An index of wheels without CUDA is a tenth of
# the size; beside PyPI, which has the pinned versions of all that torch needs.
WORKDIR /app
COPY constraints.txt ./
ARG TORCH_INDEX=
RUN pip install --no-cache-dir --constraint constraints.txt setuptools \
    && pip install --no-cache-dir --constraint constraints.txt \
        ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch

# DS_BUILD_OPS=0: DeepSpeed compiles nothing at installation.
COPY . .
RUN DS_BUILD_OPS=0 pip install --no-cache-dir --constraint constraints.txt \
        --editable '.[ray,kubernetes]' \
    && ln -s /data/out out

# Whatever lasts is in the volume: the store, models of the Hub, Prefect's home, the flows' out/.
ENV MEDI_STORE=/data/store \
    HF_HOME=/data/huggingface \
    PREFECT_HOME=/data/prefect \
    DO_NOT_TRACK=1
VOLUME ["/data"]
USER 10001
ENTRYPOINT ["medi"]
CMD ["--help"]
