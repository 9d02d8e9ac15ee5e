# rtseg on NVIDIA GPUs with TensorRT, without windows, as a user who is not root. The machine needs a driver for CUDA 13
# and the NVIDIA Container Toolkit, which puts the driver's libraries into the container; all others come from pip.
#   docker build -f containers/cuda.Dockerfile -t rtseg:cuda .
#   docker run --rm --gpus all -v "$PWD:/data" rtseg:cuda run drive.mp4 out.mp4 --backend tensorrt
# Plans are kept beside the model that is given; --model engines/NAME, below /data, keeps them from run to run.
# Checked by a linter and by tests of its lines; not yet built.
FROM python:3.12-slim-bookworm AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
# PyCUDA, which PyPI has as source only: two headers from pip stand in for the CUDA toolkit.
RUN python -m venv /opt/rtseg && /opt/rtseg/bin/python tools/install_pycuda.py
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# hadolint ignore=DL3013
RUN /opt/rtseg/bin/pip install --no-cache-dir "$(echo /wheels/rtseg-*.whl)[bag,gpu,onnx,tensorrt]" \
    && /opt/rtseg/bin/pip uninstall --yes opencv-python \
    && /opt/rtseg/bin/pip install --no-cache-dir --force-reinstall --no-deps opencv-python-headless

FROM python:3.12-slim-bookworm
COPY --from=build /opt/rtseg /opt/rtseg
ENV PATH=/opt/rtseg/bin:$PATH NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN useradd --create-home --uid 1000 rtseg
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["rtseg"]
CMD ["check"]
