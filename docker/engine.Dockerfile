# Local engines on NVIDIA GPUs: vLLM in an environment of its own, and the keeper that runs it.
# Build from the root: docker build -f docker/engine.Dockerfile .
FROM python:3.12-slim AS packages
WORKDIR /app
COPY requirements/engine-cuda.txt requirements/
RUN python -m venv /engine \
    && /engine/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps \
    -r requirements/engine-cuda.txt
COPY requirements/build.txt requirements/gateway.txt requirements/
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
    -r requirements/build.txt -r requirements/gateway.txt
COPY pyproject.toml README.md LICENSE ./
RUN /venv/bin/pip install --no-index --no-deps --no-build-isolation --editable . \
    && /venv/bin/pip uninstall --yes setuptools pip

FROM python:3.12-slim
# The engine compiles kernels for the GPU it finds.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 governor \
    && useradd --system --uid 10001 --gid governor --no-create-home governor \
    && install --directory --owner=governor --group=governor /data /models
COPY --from=packages /engine /engine
COPY --from=packages /venv /venv
WORKDIR /app
COPY backend backend
COPY db db
RUN python -m compileall -q backend db
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/data \
    HF_HOME=/models \
    GOVERNOR_DATA_DIR=/data \
    GOVERNOR_ENGINE_PYTHON=/engine/bin/python
USER governor
VOLUME ["/data", "/models"]
STOPSIGNAL SIGTERM
# Whether the database is heard from here: engines tell how they are themselves, on the page Engine.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["governor", "engine", "list", "--json"]
ENTRYPOINT ["governor"]
CMD ["engine", "keep"]
