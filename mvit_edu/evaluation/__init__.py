"""How good a model is: clips of every video, one score from them, exact counts. Stands on the model and the data."""

from mvit_edu.evaluation.attention import AttentionMap, BlockDistance, attention_distance, attention_maps
from mvit_edu.evaluation.heat_maps import HeatMap, attention_rollout, class_token_maps, grad_cam
from mvit_edu.evaluation.lattice import Lattice, block_lattices
from mvit_edu.evaluation.metrics import average_precision, confusion_matrix, ranking, top_k_correct
from mvit_edu.evaluation.orders import ORDERS, reorder_frames
from mvit_edu.evaluation.protocol import PROTOCOLS, Protocol, combine_views, get_protocol
from mvit_edu.evaluation.report import Report
from mvit_edu.evaluation.run import evaluate

__all__ = [
    "ORDERS",
    "PROTOCOLS",
    "AttentionMap",
    "BlockDistance",
    "HeatMap",
    "Lattice",
    "Protocol",
    "Report",
    "attention_distance",
    "attention_maps",
    "attention_rollout",
    "average_precision",
    "block_lattices",
    "class_token_maps",
    "combine_views",
    "confusion_matrix",
    "evaluate",
    "get_protocol",
    "grad_cam",
    "ranking",
    "reorder_frames",
    "top_k_correct",
]
