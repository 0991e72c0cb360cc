# One image for the operator, the gateway, the runner and the migration.
# BASE needs Python 3.11 or later with pip, and sh.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS tools
# Only for builds behind a proxy that has a certificate of its own.
ARG PIP_CERT
ARG SSL_CERT_FILE
RUN python3 -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
      --target /opt/tools uv==0.13.9 hatchling==1.33.0
ENV PATH=/opt/tools/bin:$PATH UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy
WORKDIR /src

FROM tools AS dependencies
ARG SSL_CERT_FILE
COPY pyproject.toml uv.lock ./
RUN UV_PROJECT_ENVIRONMENT=/opt/parley uv sync --frozen --no-dev --no-install-project --python python3

FROM dependencies AS source
COPY README.md LICENSE* pyproject.toml ./
COPY operator operator
RUN PYTHONPATH=/opt/tools uv pip install --no-deps --no-build-isolation --offline \
      --python /opt/parley/bin/python --target /opt/app .

FROM ${BASE}
COPY --from=dependencies /opt/parley /opt/parley
ENV PATH=/opt/app/bin:/opt/parley/bin:$PATH PYTHONPATH=/opt/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
CMD ["parley-operator"]
# Last and alone: a change of the sources leaves every other layer as it is.
COPY --from=source /opt/app /opt/app
