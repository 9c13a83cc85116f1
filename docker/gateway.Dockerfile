# The gateway, its drainer and the command line. Build from the root: docker build -f docker/gateway.Dockerfile .
FROM python:3.13-slim AS packages
WORKDIR /app
COPY requirements/build.txt requirements/gateway.txt requirements/embedder.txt requirements/
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
    -r requirements/build.txt -r requirements/gateway.txt \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps \
    -r requirements/embedder.txt
COPY pyproject.toml README.md LICENSE ./
RUN /venv/bin/pip install --no-index --no-deps --no-build-isolation --editable . \
    && /venv/bin/pip uninstall --yes setuptools pip

FROM python:3.13-slim
RUN groupadd --system --gid 10001 governor \
    && useradd --system --uid 10001 --gid governor --no-create-home governor \
    && install --directory --owner=governor --group=governor /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY backend backend
COPY db db
RUN python -m compileall -q backend db
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    GOVERNOR_DATA_DIR=/data \
    GOVERNOR_GATEWAY_HOST=0.0.0.0
USER governor
VOLUME /data
EXPOSE 4000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:4000/health/readiness', timeout=2)"]
ENTRYPOINT ["governor"]
CMD ["gateway"]
