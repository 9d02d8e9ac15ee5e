"""log.csv: rows once, in order, whatever was written before a kill."""

from __future__ import annotations

from pathlib import Path

from rtseg.training.log import append_row, forget_rows, read_rows


def test_rows_after_the_checkpoint_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    for step in (2, 4, 1234567):
        append_row(path, {"epoch": 1, "step": step, "loss": 0.123456789})
    with path.open("a") as file:
        file.write("4,8,0.")  # killed while writing
    assert read_rows(path) == [{"epoch": 1, "step": step, "loss": 0.123457} for step in (2, 4, 1234567)]
    forget_rows(path, 4)
    assert [row["step"] for row in read_rows(path)] == [2, 4]
    append_row(path, {"epoch": 2, "step": 6, "val_miou": 0.5})
    assert read_rows(path)[-1] == {"epoch": 2, "step": 6, "val_miou": 0.5}


def test_a_log_of_earlier_columns_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("epoch,step,minutes,loss\n1,45,0.9,2.8\n")
    forget_rows(path, 45)
    append_row(path, {"epoch": 2, "step": 90, "step_seconds": 0.5})
    first, second = read_rows(path)
    assert first == {"epoch": 1, "step": 45, "minutes": 0.9, "loss": 2.8}
    assert second == {"epoch": 2, "step": 90, "step_seconds": 0.5}
    assert read_rows(tmp_path / "none.csv") == []
