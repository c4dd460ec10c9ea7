# Three images from one file:
#
#     docker build --target api .           HTTP; no TensorFlow
#     docker build --target worker .        prunes on CPUs
#     docker build --target worker-gpu .    prunes on NVIDIA GPUs; CUDA 12 comes inside the wheels
#
# docs/operations.md says what of this was run, and what was not.

FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ESPALIER_DATA_DIR=/data ESPALIER_LOG_FORMAT=json
RUN useradd --create-home --uid 10001 espalier && install --directory --owner=espalier /data
WORKDIR /srv/espalier
VOLUME /data

FROM base AS api
COPY requirements/api.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/api.txt
COPY pruning_core pruning_core
COPY app app
USER 10001
EXPOSE 8000
# By this it knows that strangers may come, and does not start until there is a key.
ENV ESPALIER_HOST=0.0.0.0
CMD ["python", "-m", "uvicorn", "app.main:app", "--host", "0.0.0.0", "--port", "8000"]

FROM base AS worker
COPY requirements/worker.txt requirements/
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements/worker.txt
COPY pruning_core pruning_core
COPY app app
COPY worker worker
USER 10001
CMD ["python", "-m", "worker.main"]

FROM base AS worker-gpu
COPY requirements/worker-gpu.txt requirements/
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements/worker-gpu.txt
COPY pruning_core pruning_core
COPY app app
COPY worker worker
USER 10001
# nvidia-smi comes from the host: /metrics shows what it says.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
CMD ["python", "-m", "worker.main"]
