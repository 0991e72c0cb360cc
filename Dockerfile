# One image for the operator, the gateway, the runner and the migration.
# BASE needs Python 3.11 or later with pip, and sh.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS dependencies
# Only for builds behind a proxy that has a certificate of its own.
ARG PIP_CERT
ARG SSL_CERT_FILE
COPY pyproject.toml uv.lock /opt/lock/
RUN python3 -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore --target /tmp/uv uv==0.13.9 \
 && UV_PROJECT_ENVIRONMENT=/opt/parley UV_PYTHON_DOWNLOADS=never /tmp/uv/bin/uv sync --project /opt/lock --no-cache \
      --frozen --no-dev --no-install-project --compile-bytecode --python python3 \
 && rm -rf /tmp/uv
ENV PATH=/opt/app/bin:/opt/parley/bin:$PATH PYTHONPATH=/opt/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
CMD ["parley-operator"]

FROM ${BASE} AS source
ARG PIP_CERT
RUN python3 -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore --target /opt/build hatchling==1.33.0
COPY README.md LICENSE* pyproject.toml /src/
COPY operator /src/operator
# The commands run by the Python that has the dependencies, not by the one that installs them here.
RUN PYTHONPATH=/opt/build python3 -m pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore \
      --no-deps --no-build-isolation --no-index --compile --target /opt/app /src \
 && sed -i '1s|.*|#!/opt/parley/bin/python|' /opt/app/bin/*

# A change of the sources makes one small layer on top; all below stays.
FROM dependencies
COPY --from=source /opt/app /opt/app
