"""`mvit-edu predict`: what happens in one video, in words and as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from mvit_edu.cli.evaluate import add_protocol, chosen_protocol
from mvit_edu.cli.parser import add_model, positive
from mvit_edu.cli.weights import Loaded, load_model
from mvit_edu.data import VideoItem, VideoList, clip_to_frames, video_info
from mvit_edu.evaluation import Protocol, combine_views, get_protocol


def add(commands: argparse._SubParsersAction) -> None:
    predict = commands.add_parser("predict", help="name what happens in a video, and draw it")
    predict.add_argument("video", help="a video file")
    add_model(predict, default=None, about="the preset (a run knows its own; otherwise mvit_b_16x4)")
    about = "a checkpoint of any public library, its name, or the folder of a run"
    predict.add_argument("--weights", metavar="FILE", help=about)
    predict.add_argument("--top", type=positive, default=5, metavar="K", help="how many classes to print (5)")
    add_protocol(predict, "one clip from the middle")
    about = "draw the frames that the model saw, and the scores, as a PNG"
    predict.add_argument("--picture", type=Path, metavar="FILE", help=about)
    predict.set_defaults(run=run_predict, parser=predict)


def run_predict(args: argparse.Namespace) -> None:
    if args.picture and not args.picture.parent.is_dir():  # better to fail now than at the end
        raise ValueError(f"{args.picture.parent} is no folder; the picture cannot be written there.")
    loaded = load_model(args.parser, args.preset, args.set, args.weights, args.stride)
    if loaded.model.config.frames < 2:
        raise ValueError(f"{args.preset} is a model for images; choose one for videos, such as mvit_b_16x4.")
    known = get_protocol(loaded.protocol)
    protocol = chosen_protocol(args, known.name if known.clips == 1 else "center")
    info = video_info(args.video)  # raises with one sentence where there is no such video
    clips = read_clips(args.video, protocol, loaded)  # (R, 3, T, H, W)
    with torch.inference_mode():
        logits = torch.cat([loaded.model(clip[None]) for clip in clips])  # (R, num_classes)
    scores = logits.sigmoid() if loaded.multi_label else logits.softmax(dim=-1)
    scores = combine_views(scores[None], protocol.aggregate)[0]  # (num_classes,)

    print(loaded.about)
    times = loaded.spec.views(info, protocol.views)
    size = "x".join(map(str, clips.shape[-2:]))
    count = f"{len(clips)} clip{'s' * (len(clips) > 1)} of {loaded.spec.frames} frames of {size}"
    span = f"from second {times.min():.2f} to {times.max():.2f} of {info.seconds:.2f}"
    print(f"{Path(args.video).name}: {count}, {span}")
    best = scores.topk(min(args.top, len(scores)))
    for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        print(f"{score:7.2%}  {loaded.classes[index]}")
    if args.picture:
        draw(args.picture, clips, protocol, loaded, best, Path(args.video).name)
        print(f"The picture is in {args.picture}.")


def read_clips(video: str, protocol: Protocol, loaded: Loaded) -> torch.Tensor:
    videos = VideoList((VideoItem(video),), loaded.classes)
    sample = protocol.dataset(videos, loaded.spec, loaded.model.config.size[1:])[0]
    if sample.clip is None:
        raise ValueError(str(sample.failures[0]))
    return sample.clip


def draw(
    path: Path, clips: torch.Tensor, protocol: Protocol, loaded: Loaded, best: torch.return_types.topk, name: str
) -> None:
    from mvit_edu.visualize import draw_prediction, save_figure

    middle = (protocol.views // 2) * protocol.crops + protocol.crops // 2
    names = [loaded.classes[index] for index in best.indices.tolist()]
    save_figure(draw_prediction(clip_to_frames(clips[middle]), names, best.values.tolist(), title=name), path)
