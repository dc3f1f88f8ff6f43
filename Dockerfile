# The controller: kopf and the planner, without PyTorch; 80 MB of memory, no candidate code, no models.
FROM python:3.11-slim
WORKDIR /app
RUN useradd --system --uid 65532 --no-create-home poise
# The dependencies first: they change less often than the code.
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY poise_lib/__init__.py poise_lib/
RUN pip install --no-cache-dir --constraint constraints.txt '.[controller]'
COPY poise_lib poise_lib
COPY controller controller
RUN pip install --no-cache-dir --no-deps --force-reinstall . && rm -rf /app/*
USER 65532
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["python", "-m", "controller"]
