# rtseg on CPUs, without windows, as a user who is not root:
#   docker build -f containers/cpu.Dockerfile -t rtseg:cpu .
#   docker run --rm -v "$PWD:/data" rtseg:cpu run drive.mp4 out.mp4
# A camera: add --device /dev/video0 --group-add video. Checked by a linter and by tests of its lines; not yet built.
FROM python:3.12-slim-bookworm AS build
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim-bookworm
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# OpenCV without windows needs no library of the system; its twin with windows, which pip would choose, does.
# hadolint ignore=DL3013
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/rtseg-*.whl)[bag,onnx]" \
    && pip uninstall --yes opencv-python \
    && pip install --no-cache-dir --force-reinstall --no-deps opencv-python-headless
RUN useradd --create-home --uid 1000 rtseg
USER 1000:1000
WORKDIR /data
ENTRYPOINT ["rtseg"]
CMD ["check"]
