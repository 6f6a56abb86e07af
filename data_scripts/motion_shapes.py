"""Write MotionShapes as H.264 files, with the lists that training reads.

    python -m data_scripts.motion_shapes clips/motion                             # 6000 + 600 + 1200 clips, 8 x 32 x 32
    python -m data_scripts.motion_shapes clips/motion --bias 0.9 --background photo --size 128 --frames 64 --fps 30

Nothing is downloaded. A run that was stopped goes on where it was when it is started again.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mvit_edu.data.motion_drawing import BACKGROUNDS
from mvit_edu.data.motion_shapes import CONTRASTS, MOTIONS, SPLITS, MotionShapes, bag_of_frames_bound


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data_scripts.motion_shapes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", type=Path, help="the folder to write to; made if it is not there")
    clips = (6000, 600, 1200)
    parser.add_argument("--clips", type=int, nargs=3, default=clips, metavar="N", help=f"train, val, test {clips}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, nargs="+", default=[32], metavar="PIXELS", help="one number, or H W (32)")
    parser.add_argument("--fps", type=float, default=8.0, help="frames per second (8)")
    parser.add_argument("--motions", nargs="+", choices=MOTIONS, default=list(MOTIONS), help="pairs of classes (all)")
    parser.add_argument("--bias", type=float, default=0.0, help="how often the look gives the class away (0)")
    parser.add_argument("--background", choices=BACKGROUNDS, default="plain")
    parser.add_argument("--noise", type=float, default=0.02, help="standard deviation, pixels in [0, 1] (0.02)")
    parser.add_argument("--speed", type=float, default=0.5, help="short sides a second (0.5)")
    parser.add_argument("--contrast", choices=CONTRASTS, default="bright")
    parser.add_argument("--crf", type=int, default=12, help="quality of x264, lower is better and larger (12)")
    parser.add_argument("--key-frames", type=int, default=12, metavar="N", help="one every N frames (12)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes (one a core)")
    args = parser.parse_args(argv)
    try:
        for split, length in zip(SPLITS, args.clips, strict=True):
            dataset = MotionShapes(
                length,
                split,
                seed=args.seed,
                frames=args.frames,
                size=args.size[0] if len(args.size) == 1 else tuple(args.size),
                fps=args.fps,
                motions=args.motions,
                appearance_bias=args.bias,
                background=args.background,
                noise=args.noise,
                speed=args.speed,
                contrast=args.contrast,
            )
            listed = dataset.write(args.target, args.crf, args.key_frames, args.workers, progress=True)
            print(f"{listed}: {length} clips of {len(dataset.classes)} classes")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    bound = bag_of_frames_bound(args.bias)
    print(f"A model that does not look at the order of the frames gets at most {bound:.3f} on average.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
