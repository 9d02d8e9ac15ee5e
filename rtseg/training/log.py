"""log.csv: one row per epoch, none twice, however often the run was killed and resumed."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from rtseg.files import write_text

__all__ = ["append_row", "forget_rows", "read_rows"]

COLUMNS = (
    "epoch", "step", "minutes", "seconds", "step_seconds", "rate", "loss", "main", "auxiliary", "boundary",
    "boundary_aware", "lovasz", "val_miou",
)  # fmt: skip
"""Of seconds: training time of the row's steps in all, and the median of one; validation is in minutes alone."""


def append_row(path: Path, row: Mapping[str, float]) -> None:
    """Add a row, under a header where the file is new."""
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        if fresh:
            writer.writeheader()
        writer.writerow(_cells(row))


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a log, without empty cells; a row that was cut off is left out."""
    if not path.exists():
        return []
    rows = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if None not in row.values():
                rows.append({key: float(value) for key, value in row.items() if value})
    return rows


def forget_rows(path: Path, step: int) -> None:
    """Drop the rows after `step`: they were written after the checkpoint that the run continues from."""
    rows = [row for row in read_rows(path) if row["step"] <= step]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, restval="")
    writer.writeheader()
    writer.writerows(map(_cells, rows))
    write_text(path, text.getvalue())


def _cells(row: Mapping[str, float]) -> dict[str, str]:
    return {key: str(int(value)) if value == int(value) else f"{value:.6g}" for key, value in row.items()}
