"""How good a model is: clips of every video, one score from them, exact counts. Stands on the model and the data."""

from mvit_edu.evaluation.metrics import average_precision, confusion_matrix, ranking, top_k_correct
from mvit_edu.evaluation.orders import ORDERS, reorder_frames
from mvit_edu.evaluation.protocol import PROTOCOLS, Protocol, combine_views, get_protocol
from mvit_edu.evaluation.report import Report
from mvit_edu.evaluation.run import evaluate

__all__ = [
    "ORDERS",
    "PROTOCOLS",
    "Protocol",
    "Report",
    "average_precision",
    "combine_views",
    "confusion_matrix",
    "evaluate",
    "get_protocol",
    "ranking",
    "reorder_frames",
    "top_k_correct",
]
