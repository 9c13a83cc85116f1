# The console. Build from the root: docker build -f docker/console.Dockerfile .
FROM python:3.13-slim AS packages
WORKDIR /app
COPY requirements/build.txt requirements/console.txt requirements/
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
    -r requirements/build.txt -r requirements/console.txt
COPY pyproject.toml README.md LICENSE ./
RUN /venv/bin/pip install --no-index --no-deps --no-build-isolation --editable . \
    && /venv/bin/pip uninstall --yes setuptools pip

FROM python:3.13-slim
RUN groupadd --system --gid 10001 governor \
    && useradd --system --uid 10001 --gid governor --no-create-home governor \
    && install --directory --owner=governor --group=governor /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY .streamlit/config.toml .streamlit/config.toml
COPY app.py app.py
COPY pages pages
COPY backend backend
COPY db db
RUN python -m compileall -q app.py pages backend db
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    GOVERNOR_DATA_DIR=/data \
    GOVERNOR_CONSOLE_HOST=0.0.0.0
USER governor
VOLUME /data
EXPOSE 8501
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8501/_stcore/health', timeout=2)"]
ENTRYPOINT ["governor"]
CMD ["console"]
