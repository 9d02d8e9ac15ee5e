"""examples/quickstart.ipynb runs from its first cell to its last in a kernel of its own."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

import rtseg
from rtseg.sources.synthetic import SyntheticSource

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "quickstart.ipynb"
ASK = """
import json
print(json.dumps({
    "indices": [result.frame.index for result in results],
    "areas": areas.sum(axis=1).tolist(),
    "labels": [int(labels.astype(int).sum()), int(results[0].labels.astype(int).sum())],
    "frames": report["frames"],
}))
"""


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def test_no_outputs_are_stored() -> None:
    cells = [cell for cell in read().cells if cell.cell_type == "code"]
    assert len(cells) >= 6
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Jupyter's own packages
def test_every_cell_runs_and_shows_what_its_text_says(tmp_path: Path) -> None:
    book = read()
    book.cells.append(nbformat.v4.new_code_cell(ASK))  # type: ignore[no-untyped-call]
    NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = {cell.id: cell.outputs for cell in book.cells if cell.cell_type == "code"}
    assert cells["loop"][0].data["text/plain"] == "(30, (360, 640), dtype('uint8'))"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(cells["show"][0].data["image/png"]), np.uint8), 1)
    scene = SyntheticSource("drive", size=(360, 640))
    assert picture.shape == (360, 640, 3) and np.abs(picture.astype(int) - scene.render(29)[0]).mean() > 5
    assert all("image/png" in cells[name][-1].data for name in ("largest", "chart"))
    text = cells["report"][0].text
    assert (
        all(stage in text for stage in ("capture ", "infer ", "labels ", "render ")) and "unet-fast0-camvid on" in text
    )
    assert "in the median of 30 frames\n" in text
    (asked,) = list(cells.values())[-1]
    said = json.loads(asked.text)
    assert said["indices"] == list(range(30)) and said["frames"] == 30
    assert said["areas"] == pytest.approx([1.0] * 30)
    with rtseg.Segmenter() as segment:
        assert said["labels"] == [int(segment(scene.render(index)[0]).astype(int).sum()) for index in (29, 0)]
