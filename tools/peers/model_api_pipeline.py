"""OpenVINO Model API: `SegmentationModel` and `AsyncPipeline`, in the loop of Open Model Zoo's segmentation demo.

The model is given what Model API asks for: a fixed input size (frames are not resized for a dynamic one) and the
normalisation, channel order and labels (without which it feeds 0 to 255 in the frame's own order). Preprocessing then
runs inside OpenVINO's graph. With `documented`, the model keeps Model API's defaults (every class's scores are enlarged
to the frame too) and its `Visualizer` draws; without, only labels are asked for and the overlay is drawn as in the
demo, by `cv2.LUT` and halves.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openvino as ov
from model_api.adapters.openvino_adapter import OpenvinoAdapter, create_core, get_user_config
from model_api.models import SegmentationModel
from model_api.pipelines import AsyncPipeline
from model_api.visualizer import Visualizer

from job import Array, Emit, Job

PACKAGES = ("openvino-model-api", "openvino", "opencv-python-headless", "numpy")


def fixed_model(job: Job) -> Path:
    """The model as OpenVINO IR with a fixed input size: SegmentationModel does not resize frames for a dynamic one."""
    path = job.folder / f"{job.model.parent.name}-{job.network[0]}x{job.network[1]}.xml"
    if not path.is_file():
        model = ov.Core().read_model(job.model)
        model.reshape([1, 3, *job.network])
        ov.save_model(model, path, compress_to_fp16=False)
    return path


def color_map(palette: Array) -> Array:
    """The table that `cv2.LUT` takes, 256x1x3."""
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(palette), 0] = palette
    return table


def overlay(frame: Array, ids: Array, table: Array) -> Array:
    """Half the frame and half the colours, as the demo draws them."""
    return np.floor_divide(frame, 2) + np.floor_divide(cv2.LUT(cv2.merge([ids, ids, ids]), table), 2)


class ModelApi:
    """`precision` is OpenVINO's hint (f32, bf16); None leaves the choice to it, as Model API does."""

    concurrent = True

    def __init__(self, job: Job, precision: str | None = None, documented: bool = False) -> None:
        self.job, self.documented = job, documented
        self.table, self.visualizer = color_map(job.palette), Visualizer()
        cv2.setNumThreads(job.threads)
        self.single = self._pipeline(precision, requests=1)
        self.several = self._pipeline(precision, requests=0)

    def _pipeline(self, precision: str | None, requests: int) -> AsyncPipeline:
        """`requests` 0 leaves the number to Model API: one more than OpenVINO's own choice."""
        job = self.job
        config = get_user_config("CPU", "1", job.threads)
        if precision is not None:
            config["INFERENCE_PRECISION_HINT"] = precision
        adapter = OpenvinoAdapter(
            create_core(), str(fixed_model(job)), device="CPU", plugin_config=config, max_num_requests=requests
        )
        configuration: dict[str, Any] = {
            "mean_values": (job.mean * 255.0).tolist(),
            "scale_values": (job.std * 255.0).tolist(),
            "reverse_input_channels": True,
            "labels": job.spec["classes"],
            "input_frame_height": job.frame[0],
            "input_frame_width": job.frame[1],
        }
        if not self.documented:
            configuration["return_soft_prediction"] = False
        pipeline = AsyncPipeline(SegmentationModel(adapter, configuration, preload=True))
        self.precision = str(adapter.compiled_model.get_property("INFERENCE_PRECISION_HINT").to_string())
        return pipeline

    def run(self, frames: Iterable[Array], emit: Emit, *, ahead: bool = False) -> None:
        pipeline = self.several if ahead else self.single
        source, submitted, shown = iter(frames), 0, 0
        while True:
            if pipeline.is_ready():
                frame = next(source, None)
                if frame is None:
                    break
                pipeline.submit_data(frame, submitted, {"frame": frame})
                submitted += 1
            else:
                pipeline.await_any()
            result = pipeline.get_result(shown)
            if result:
                self._show(result, emit)
                shown += 1
        pipeline.await_all()
        for index in range(shown, submitted):
            self._show(pipeline.get_result(index), emit)

    def _show(self, result: Any, emit: Emit) -> None:
        prediction, meta = result
        frame = meta["frame"]
        if self.documented:
            picture = self.visualizer.render(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), prediction)
            emit(prediction.resultImage.astype(np.uint8), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        else:
            ids = prediction.astype(np.uint8)
            emit(ids, overlay(frame, ids, self.table))


open_peer = ModelApi
