# One image for agent and operator. Build it with:
#   docker build -t oomsayer:0.1.0 .
# Where no registry can be reached, give a base with Python >= 3.11 and pip, or use `make image`.
ARG BASE_IMAGE=python:3.13-slim

FROM ${BASE_IMAGE} AS build
ARG UV_VERSION=0.13.9
RUN pip install --no-cache-dir uv==${UV_VERSION}
WORKDIR /src
COPY pyproject.toml uv.lock ./
RUN uv export --quiet --frozen --extra operator --no-dev --no-emit-project --output-file requirements.txt \
 && uv pip install --quiet --no-deps --require-hashes --target /opt/oomsayer/lib --requirement requirements.txt
COPY operator/oomsayer /opt/oomsayer/app/oomsayer
# Containers have a read-only file system and little memory: nothing is to be compiled there.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /opt/oomsayer

FROM ${BASE_IMAGE}
RUN python3 -m compileall -q -x '/test/' --invalidation-mode unchecked-hash "$(python3 -c 'import os; print(os.path.dirname(os.__file__))')"
COPY --from=build /opt/oomsayer/lib /opt/oomsayer/lib
COPY --from=build /opt/oomsayer/app /opt/oomsayer/app
ENV PYTHONPATH=/opt/oomsayer/app:/opt/oomsayer/lib \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65534:65534
WORKDIR /
ENTRYPOINT ["python3", "-m", "oomsayer"]
