# The scripted language model, as a server in the cluster; its answers are made of the library that the worker's image holds.
ARG WORKER
FROM ${WORKER}
COPY llm /srv/tests/llm
WORKDIR /srv
EXPOSE 8000
ENTRYPOINT ["/opt/venv/bin/python", "-m", "tests.llm.server", "--host", "0.0.0.0", "--port", "8000", "--script", "/script/script.yaml"]
