# The controller: kopf and the planner; no PyTorch, no candidate code, no models.
ARG PYTHON=python:3.11-slim
FROM ${PYTHON} AS build
# More sources of packages, such as --extra-index-url https://pypi.example.com/simple.
ARG PIP_EXTRA=""
WORKDIR /app
RUN python -m venv /opt/venv
# The dependencies first: they change less often than the code.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY poise_lib/__init__.py poise_lib/
RUN /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt $PIP_EXTRA '.[controller]'
COPY poise_lib poise_lib
COPY controller controller
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --force-reinstall $PIP_EXTRA . && \
    /opt/venv/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON}
LABEL org.opencontainers.image.title="poise-controller" \
      org.opencontainers.image.description="Operator that discovers policy-optimisation algorithms for language models" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 65532 --no-create-home poise
COPY --from=build /opt/venv /opt/venv
USER 65532
# Threads work on one archive after the other: with an arena each, what one has freed would be no use to the next.
ENV PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=2
ENTRYPOINT ["/opt/venv/bin/python", "-m", "controller"]
