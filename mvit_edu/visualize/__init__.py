"""Pictures for the chapters: film strips, time lines, token grids, pooling windows, stage tables drawn to scale."""

from mvit_edu.visualize.grids import draw_grid, draw_window
from mvit_edu.visualize.stages import cost_bars, stage_pyramid
from mvit_edu.visualize.style import COLORS, STAGE_COLORS, drawings, photographs, set_style, stage_color
from mvit_edu.visualize.timeline import draw_lanes, draw_timeline
from mvit_edu.visualize.video import encode_mp4, film_strip, show_video

__all__ = [
    "COLORS",
    "STAGE_COLORS",
    "cost_bars",
    "draw_grid",
    "draw_lanes",
    "draw_timeline",
    "draw_window",
    "drawings",
    "encode_mp4",
    "film_strip",
    "photographs",
    "set_style",
    "show_video",
    "stage_color",
    "stage_pyramid",
]
