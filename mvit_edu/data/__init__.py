"""Videos as tensors. Imports torch, torchvision and PyAV, and nothing of the model."""

from mvit_edu.data.annotations import read_charades, read_imagenet, read_kinetics, read_ssv2
from mvit_edu.data.ava import read_ava
from mvit_edu.data.clip_dataset import ClipDataset
from mvit_edu.data.clips import (
    MEAN,
    STD,
    clip_indices,
    clip_to_frames,
    example_clip,
    load_clip,
    open_video,
    read_frames,
    video_info,
)
from mvit_edu.data.failures import Failure, FailureLog
from mvit_edu.data.list_file import read_class_names
from mvit_edu.data.mixing import MixUpCutMix, soft_targets
from mvit_edu.data.motion_shapes import MotionShapes, bag_of_frames_bound
from mvit_edu.data.packets import VideoError
from mvit_edu.data.rand_augment import RandAugment
from mvit_edu.data.reader import Video, VideoInfo
from mvit_edu.data.sampling import ClipSpec
from mvit_edu.data.transforms import RandomErasing, eval_transform, recipe_transforms, train_transform
from mvit_edu.data.video_list import VideoItem, VideoList, class_names
from mvit_edu.data.videos import Batch, Sample, VideoDataset, collate

__all__ = [
    "MEAN",
    "STD",
    "Batch",
    "ClipDataset",
    "ClipSpec",
    "Failure",
    "FailureLog",
    "MixUpCutMix",
    "MotionShapes",
    "RandAugment",
    "RandomErasing",
    "Sample",
    "Video",
    "VideoDataset",
    "VideoError",
    "VideoInfo",
    "VideoItem",
    "VideoList",
    "bag_of_frames_bound",
    "class_names",
    "clip_indices",
    "clip_to_frames",
    "collate",
    "eval_transform",
    "example_clip",
    "load_clip",
    "open_video",
    "read_ava",
    "read_charades",
    "read_class_names",
    "read_frames",
    "read_imagenet",
    "read_kinetics",
    "read_ssv2",
    "recipe_transforms",
    "soft_targets",
    "train_transform",
    "video_info",
]
