# diffprobe on a CPU. Everything comes from one registry of packages, which may be a mirror without
# a way outside:
#
#   docker build --build-arg PYTHON_IMAGE=… --build-arg PIP_INDEX_URL=… --tag diffprobe .
#   docker build --secret id=pip,src=pip.conf --tag diffprobe .     # with a password in it
#   docker run --rm --volume "$PWD:/work" diffprobe train --preset demo
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE}

ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
# Where the registry has a CPU build beside the others: torch==2.13.0+cpu.
ARG TORCH=torch
ARG EXTRAS=digits,frame,parquet,tensorboard,tune

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY diffprobe diffprobe
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip install --constraint constraints.txt "${TORCH}" ".[${EXTRAS}]"

RUN useradd --create-home --uid 1000 diffprobe && install --directory --owner diffprobe /work
USER 1000
WORKDIR /work
ENTRYPOINT ["diffprobe"]
CMD ["--help"]
