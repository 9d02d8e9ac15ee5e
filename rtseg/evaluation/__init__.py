"""How well a model labels, measured as it will run: through the pipeline's own preprocess, backend and labels."""

from rtseg.evaluation.record import record_scores
from rtseg.evaluation.scores import evaluate, table, write_scores
from rtseg.evaluation.worst import Worst

__all__ = ["Worst", "evaluate", "record_scores", "table", "write_scores"]
