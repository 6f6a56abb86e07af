"""Chapter 5: the stage table, with everything that can be counted before a model exists."""

from __future__ import annotations

import html
from dataclasses import dataclass
from math import prod

from mvit_edu.model.config import BlockSpec, MViTConfig
from mvit_edu.model.pooling import Size3


@dataclass(frozen=True)
class PartSpec:
    """What stands before or after the blocks: the stem (cubes, class token, positions) or the head. Chapter 5."""

    name: str
    dim: int
    tokens: int
    params: int
    macs: int


@dataclass(frozen=True)
class StageSpec:
    """One row of the paper's tables: blocks of one width and one resolution. Chapter 5."""

    stage: int
    blocks: tuple[BlockSpec, ...]

    @property
    def depth(self) -> int:
        return len(self.blocks)

    @property
    def dim(self) -> int:
        return self.blocks[0].dim

    @property
    def heads(self) -> int:
        return self.blocks[0].heads

    @property
    def thw(self) -> Size3:
        """The grid that the stage works on, after the query pooling of its first block."""
        return self.blocks[0].thw_out

    @property
    def params(self) -> int:
        return sum(block.params for block in self.blocks)

    @property
    def macs(self) -> int:
        return sum(block.macs for block in self.blocks)

    @property
    def activations(self) -> int:
        return sum(block.activations for block in self.blocks)


@dataclass(frozen=True)
class StageTable:
    """A config, counted: shapes, parameters, multiply-adds and kept activations (Tables 1-3). Chapter 5.

    ``macs`` are the multiply-adds of one clip; softmax, max- and average-pooling and LayerNorm are not counted, as in
    the paper. ``activations`` are the numbers that the blocks keep for the backward pass of one clip.
    """

    config: MViTConfig

    @property
    def rows(self) -> tuple[BlockSpec, ...]:
        """One row a block."""
        return self.config.blocks

    @property
    def stages(self) -> tuple[StageSpec, ...]:
        """One row a stage."""
        count = len(self.config.depths)
        return tuple(StageSpec(i, tuple(b for b in self.rows if b.stage == i)) for i in range(count))

    @property
    def stem(self) -> PartSpec:
        """The cube convolution, the class token and the positions."""
        config = self.config
        t, h, w = config.thw
        dim, cls, places = config.dim, int(config.cls_token), t * h * w
        cube = config.in_channels * prod(config.cube_kernel)
        positions = {
            "none": 0,
            "space": h * w + cls,
            "joint": places + cls,
            "separate": h * w + t + cls,
        }[config.position]
        params = dim * (cube + 1) + dim * cls + dim * positions
        return PartSpec("stem", dim, places + cls, params, places * dim * cube)

    @property
    def head(self) -> PartSpec:
        """The last norm and the classifier."""
        dim, classes = self.rows[-1].dim_out, self.config.num_classes
        return PartSpec("head", dim, 1, 2 * dim + classes * (dim + 1), classes * dim)

    @property
    def params(self) -> int:
        """Learned numbers of the whole model."""
        return self.stem.params + sum(row.params for row in self.rows) + self.head.params

    @property
    def macs(self) -> int:
        """Multiply-adds of the whole model for one clip."""
        return self.stem.macs + sum(row.macs for row in self.rows) + self.head.macs

    @property
    def activations(self) -> int:
        """Numbers that the blocks keep for the backward pass of one clip."""
        return sum(row.activations for row in self.rows)

    def lines(self) -> list[tuple[str, ...]]:
        """The cells of the table as text, header first, a line a stage."""
        config, stem, head = self.config, self.stem, self.head
        cube = f"cube {by(config.cube_kernel)}, stride {by(config.cube_stride)}"
        lines = [
            ("stage", "blocks", "heads", "channels", "T x H x W", "tokens", "params", "GMACs", "share"),
            ("data", "", "", str(config.in_channels), by(config.size), "", "", "", ""),
            self._line("stem", cube, "", stem.dim, config.thw, stem.tokens, stem.params, stem.macs),
        ]
        for stage in self.stages:
            depth, name = f"{stage.depth} x [attention, MLP]", f"scale{stage.stage + 2}"
            tokens = stage.blocks[0].tokens_q
            row = (name, depth, stage.heads, stage.dim, stage.thw, tokens, stage.params, stage.macs)
            lines.append(self._line(*row))
        lines.append(self._line("head", f"{config.num_classes} classes", "", head.dim, None, 1, head.params, head.macs))
        lines.append(("all", "", "", "", "", "", f"{self.params:,}", f"{self.macs / 1e9:.2f}", "100.0%"))
        return lines

    def _line(self, name, what, heads, dim, thw, tokens, params, macs) -> tuple[str, ...]:
        share = f"{100 * macs / self.macs:.1f}%"
        grid = by(thw) if thw else ""
        return (
            name,
            what,
            str(heads),
            str(dim),
            grid,
            f"{tokens:,}",
            f"{params:,}",
            f"{macs / 1e9:.2f}",
            share,
        )

    def __str__(self) -> str:
        lines = self.lines()
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        left = {0, 1}
        rows = (
            "  ".join(
                cell.ljust(width) if i in left else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        )
        return "\n".join(row.rstrip() for row in rows)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def row(tag: str, line: tuple[str, ...]) -> str:
            sides = ["left", "left", *["right"] * (len(line) - 2)]
            style = "padding:2px 8px;white-space:nowrap;text-align:"
            cells = zip(sides, line, strict=True)
            return "".join(f'<{tag} style="{style}{side}">{html.escape(cell)}</{tag}>' for side, cell in cells)

        head, *body = self.lines()
        rows = "".join(f"<tr>{row('td', line)}</tr>" for line in body)
        table = f"<table><thead><tr>{row('th', head)}</tr></thead><tbody>{rows}</tbody></table>"
        return f'<div style="overflow-x:auto">{table}</div>'


def by(sizes: tuple[int, ...]) -> str:
    """(8, 56, 56) -> "8x56x56". Chapter 5."""
    return "x".join(map(str, sizes))


def stage_table(config: MViTConfig) -> StageTable:
    """Count a config; nothing is built. Chapter 5."""
    return StageTable(config)
