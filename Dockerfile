# Two images from one file: `docker build --target api .` and `docker build --target worker .`
#
# For a GPU, start the worker from an image that carries CUDA 12 and Python 3.11, and install
# `tensorflow[and-cuda]` of the version that requirements/worker.txt pins for tensorflow-cpu.

FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ESPALIER_DATA_DIR=/data
RUN useradd --create-home espalier && install --directory --owner=espalier /data
WORKDIR /srv/espalier
VOLUME /data

FROM base AS api
COPY requirements/api.txt requirements/
RUN pip install --no-cache-dir --require-hashes -r requirements/api.txt
COPY pruning_core pruning_core
COPY app app
COPY espalier espalier
USER espalier
EXPOSE 8000
# By this it knows that strangers may come, and does not start until there is a key.
ENV ESPALIER_HOST=0.0.0.0
CMD ["python", "-m", "uvicorn", "app.main:app", "--host", "0.0.0.0", "--port", "8000"]

FROM base AS worker
COPY requirements/worker.txt requirements/
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements/worker.txt
COPY pruning_core pruning_core
COPY app app
COPY espalier espalier
COPY worker worker
USER espalier
CMD ["python", "-m", "worker.main"]
