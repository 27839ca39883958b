# syntax=docker/dockerfile:1
# docker build --target cpu --tag response-tuning:cpu .
# docker build --target cuda --tag response-tuning:cuda .
# docker run --rm -v "$PWD:/work" response-tuning:cpu train --data answers.jsonl --output runs/mine

FROM python:3.11-slim-bookworm AS wheel
WORKDIR /source
RUN pip install --no-cache-dir build==1.6.1
COPY pyproject.toml README.md LICENSE CHANGELOG.md CITATION.cff constraints.txt constraints-lowest.txt ./
COPY src src
RUN python -m build --wheel --outdir /dist

FROM python:3.11-slim-bookworm AS cpu
# The build of PyTorch for processors alone: a fifth of the size.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt /tmp/constraints.txt
COPY --from=wheel /dist /tmp/dist
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" "torch==2.13.0" \
    && wheel="$(find /tmp/dist -name '*.whl')" \
    && pip install --no-cache-dir --constraint /tmp/constraints.txt "${wheel}[embedded,hub,llama-cpp]" \
    && rm -rf /tmp/dist /tmp/constraints.txt \
    && useradd --create-home tuner
USER tuner
WORKDIR /work
ENTRYPOINT ["rt"]
CMD ["--help"]

FROM nvidia/cuda:13.0.1-base-ubuntu24.04 AS cuda
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/venv \
    && useradd --create-home tuner
ENV PATH=/opt/venv/bin:$PATH
COPY --from=wheel /dist /tmp/dist
RUN wheel="$(find /tmp/dist -name '*.whl')" \
    && pip install --no-cache-dir "${wheel}[embedded,hub,qlora,liger]" \
    && rm -rf /tmp/dist
USER tuner
WORKDIR /work
ENTRYPOINT ["rt"]
CMD ["--help"]
