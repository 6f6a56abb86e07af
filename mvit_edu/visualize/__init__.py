"""Pictures for the chapters: film strips, time lines, token grids, pooling windows, stage tables drawn to scale,
training runs, predictions, scaling and attention."""

from mvit_edu.visualize.attention import draw_attention_distance, draw_heat_maps
from mvit_edu.visualize.curves import compare_runs, draw_run
from mvit_edu.visualize.grids import draw_grid, draw_window
from mvit_edu.visualize.prediction import draw_prediction, save_figure
from mvit_edu.visualize.rows import read_rows
from mvit_edu.visualize.scaling import draw_scaling
from mvit_edu.visualize.schedule import draw_schedule
from mvit_edu.visualize.stages import cost_bars, stage_pyramid
from mvit_edu.visualize.style import COLORS, STAGE_COLORS, drawings, photographs, set_style, stage_color
from mvit_edu.visualize.timeline import draw_lanes, draw_timeline
from mvit_edu.visualize.video import encode_mp4, film_strip, show_video

__all__ = [
    "COLORS",
    "STAGE_COLORS",
    "compare_runs",
    "cost_bars",
    "draw_attention_distance",
    "draw_grid",
    "draw_heat_maps",
    "draw_lanes",
    "draw_prediction",
    "draw_run",
    "draw_scaling",
    "draw_schedule",
    "draw_timeline",
    "draw_window",
    "drawings",
    "encode_mp4",
    "film_strip",
    "photographs",
    "read_rows",
    "save_figure",
    "set_style",
    "show_video",
    "stage_color",
    "stage_pyramid",
]
