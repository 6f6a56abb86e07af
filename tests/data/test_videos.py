"""`VideoDataset`: the same clips whatever the workers do, bad videos replaced or reported, exact counts."""

from __future__ import annotations

import gc
import os
import pickle
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mvit_edu.data.failures import Failure, FailureLog
from mvit_edu.data.sampling import ClipSpec
from mvit_edu.data.transforms import eval_transform, train_transform
from mvit_edu.data.video_list import VideoItem, VideoList
from mvit_edu.data.videos import Sample, VideoDataset, collate, item_seed

FRAMES, FPS = 60, 30
SPEC = ClipSpec(frames=4, stride=4)


def plain(frames: torch.Tensor) -> torch.Tensor:
    """A transform without randomness: uint8 (T, 3, H, W) -> float (3, T, H, W)."""
    return frames.transpose(0, 1).float()


def noisy(frames: torch.Tensor) -> torch.Tensor:
    return plain(frames) + torch.randn(())


def write_video(path: Path, number: int, frames: int = FRAMES) -> str:
    """The left half of a frame tells the video, the right half the frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": "12", "crf": "8", "preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = 32, 64, "yuv420p"
        for index in range(frames):
            picture = np.full((32, 64, 3), 40 * number + 20, dtype=np.uint8)
            picture[:, 32:] = 4 * index + 2
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return str(path)


def video_in(clip: torch.Tensor) -> int:
    return round((float(clip[:, 0, 8:24, 8:24].mean()) - 20) / 40)


def frames_in(clip: torch.Tensor) -> list[int]:
    return [round((float(value) - 2) / 4) for value in clip[:, :, 8:24, 40:56].mean(dim=(0, 2, 3))]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    return VideoList(tuple(VideoItem(write_video(folder / f"v {n}.mp4", n), n % 3) for n in range(5)))


@pytest.fixture(scope="module")
def mixed(good, tmp_path_factory):
    """Five good videos, then a missing one and one that is a text."""
    text = tmp_path_factory.mktemp("bad") / "text.mp4"
    text.write_text("this is no video")
    bad = (VideoItem(str(text.with_name("gone.mp4")), 0), VideoItem(str(text), 1))
    return VideoList(good.items + bad)


def equal(one: Sample, other: Sample) -> bool:
    return torch.equal(one.clip, other.clip) and (one.label, one.index) == (other.label, other.index)


def test_a_training_sample(good):
    sample = VideoDataset(good, SPEC, plain)[3]
    assert sample.clip.shape == (1, 3, 4, 32, 64) and sample.label == 0 and sample.index == 3 and not sample.failures
    assert video_in(sample.clip[0]) == 3
    frames = frames_in(sample.clip[0])
    assert frames == sorted(frames) and len(set(frames)) == 4 and frames[-1] - frames[0] <= 16


def test_an_item_depends_on_seed_epoch_and_index_only(good):
    dataset = VideoDataset(good, SPEC, noisy, seed=7)
    again = VideoDataset(good, SPEC, noisy, seed=7)
    first = [dataset[epoch, index] for epoch in range(3) for index in range(5)]
    torch.manual_seed(99)
    later = [again[epoch, index] for epoch in reversed(range(3)) for index in reversed(range(5))][::-1]
    assert all(equal(a, b) for a, b in zip(first, later, strict=True))
    assert equal(dataset[2], dataset[0, 2])
    for other in (dataset[1, 2], VideoDataset(good, SPEC, noisy, seed=8)[0, 2]):
        assert not torch.equal(dataset[0, 2].clip, other.clip)
    starts = {frames_in(dataset[epoch, 0].clip[0])[0] for epoch in range(12)}
    assert len(starts) > 4, "every epoch draws another clip"


def test_the_global_generators_stay_as_they_are(good):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    VideoDataset(good, SPEC, noisy)[0]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_gpu_of_this_process_is_not_seeded(good, monkeypatch):
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("the generators of the GPUs changed"))
    VideoDataset(good, SPEC, noisy)[0]


def test_item_seeds_do_not_change_between_versions():
    assert item_seed(0, 0, 0) == 0x35E2D85D9AB01351 and item_seed(1, 2, 3) != item_seed(1, 3, 2)
    seeds = {item_seed(s, e, i) for s in range(10) for e in range(10) for i in range(100)}
    assert len(seeds) == 10_000 and max(seeds) < 2**63


def test_repeated_augmentation_shares_the_frames(good):
    clip = VideoDataset(good, SPEC, noisy, repeats=3)[1].clip
    assert clip.shape == (3, 3, 4, 32, 64)
    shifts = clip - clip[:1]  # the same frames, each copy with its own noise
    assert (
        all(float(shift.max() - shift.min()) < 1e-3 for shift in shifts)
        and len(set(shifts.mean((1, 2, 3, 4)).tolist())) == 3
    )
    alone = VideoDataset(good, SPEC, noisy)[1].clip
    assert torch.equal(alone[0], clip[0])


def test_repeated_augmentation_decodes_once(good, monkeypatch):
    from mvit_edu.data import videos as module

    opened = []
    monkeypatch.setattr(module, "open_video", lambda path, real=module.open_video: opened.append(path) or real(path))
    VideoDataset(good, SPEC, plain, repeats=4)[0]
    VideoDataset(good, SPEC, plain, views=3)[0]
    assert len(opened) == 2


def test_evaluation_views(good):
    sample = VideoDataset(good, SPEC, plain, views=3)[2]
    assert sample.clip.shape == (3, 3, 4, 32, 64)
    seen = [frames_in(clip) for clip in sample.clip]
    assert seen[0][0] == 0 and seen[0][0] < seen[1][0] < seen[2][0] and seen[2][-1] >= FRAMES - 3
    crops = VideoDataset(good, SPEC, eval_transform(24, short_side=24, crops=3), views=2)[2]
    assert crops.clip.shape == (6, 3, 4, 24, 24)
    again = VideoDataset(good, SPEC, eval_transform(24, short_side=24, crops=3), views=2, seed=9)[5, 2]
    assert torch.equal(crops.clip, again.clip), "an evaluation depends on no seed"


def test_a_part_of_a_video(good):
    item = VideoItem(good.items[1].path, 0, start=0.5, end=1.2)  # frames 15 to 35
    dataset = VideoDataset(VideoList((item,)), SPEC, plain)
    seen = [frames_in(dataset[epoch, 0].clip[0]) for epoch in range(8)]
    assert min(map(min, seen)) >= 15 and max(map(max, seen)) <= 36 and len({clip[0] for clip in seen}) > 1
    tail = VideoDataset(VideoList((VideoItem(item.path, 0, start=1.5),)), SPEC, plain, views=2)[0]
    assert frames_in(tail.clip[0])[0] == 45
    with pytest.raises(RuntimeError, match="its part begins at 5 s, but the file ends at 2 s"):
        VideoDataset(VideoList((VideoItem(item.path, 0, start=5.0),)), SPEC, plain)[0]


def test_a_bad_video_is_replaced_in_training(mixed):
    dataset = VideoDataset(mixed, SPEC, plain, seed=1)
    chosen = set()
    for epoch in range(8):
        sample = dataset[epoch, 5]
        assert sample.index < 5 and video_in(sample.clip[0]) == sample.index and sample.label == sample.index % 3
        assert sample.failures[0].path == mixed.items[5].path and "there is no such file" in sample.failures[0].cause
        assert equal(sample, dataset[epoch, 5])
        chosen.add(sample.index)
    assert len(chosen) > 1, "the replacement is drawn, not always the same"
    assert dataset[0, 4].failures == ()


def test_too_many_bad_videos_in_a_row(mixed):
    bad = VideoList(mixed.items[5:])
    with pytest.raises(
        RuntimeError, match=r"3 videos in a row could not be read, the last of them .*mvit-edu data check"
    ):
        VideoDataset(bad, SPEC, plain, max_attempts=3)[0]


def test_a_bad_video_is_reported_in_evaluation(mixed):
    sample = VideoDataset(mixed, SPEC, plain, views=2)[6]
    assert sample.clip is None and sample.index == 6 and sample.label == 1
    assert [failure.path for failure in sample.failures] == [mixed.items[6].path]


def test_an_error_of_the_transform_is_no_bad_video(good):
    def broken(frames):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        VideoDataset(good, SPEC, broken)[0]


def test_an_error_of_the_sampler_is_no_bad_video(good):
    with pytest.raises(ValueError, match="there is one view of it"):
        VideoDataset(good, ClipSpec(frames=4, sampling="segments"), plain, views=2)[0]


def test_charades_labels():
    """A training clip has the labels of the moments it touches; an evaluated video has all."""
    item = VideoItem("x", (0, 1, 3), actions=((0, 0.0, 1.0), (1, 2.0, 5.0), (3, 9.0, 9.5)))
    videos = VideoList((item,), tuple("abcd"))
    train, test = VideoDataset(videos, SPEC, plain), VideoDataset(videos, SPEC, plain, views=1)
    for first, last, wanted in (
        (0.2, 0.9, [1, 0, 0, 0]),
        (0.5, 2.0, [1, 1, 0, 0]),
        (1.1, 1.9, [0, 0, 0, 0]),
        (3.0, 4.0, [0, 1, 0, 0]),
        (5.0, 20.0, [0, 1, 0, 1]),
    ):
        assert train._label(item, np.linspace(first, last, 4)[None]).tolist() == wanted
        assert test._label(item, np.linspace(first, last, 4)[None]).tolist() == [1, 1, 0, 1]


def test_several_labels_without_times(good):
    items = tuple(VideoItem(item.path, (n, 6)) for n, item in enumerate(good))
    batch = collate([VideoDataset(VideoList(items), SPEC, plain, repeats=2)[i] for i in (0, 4)])
    assert batch.labels.dtype == torch.float32 and batch.labels.tolist() == [
        [1, 0, 0, 0, 0, 0, 1], [1, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0, 1], [0, 0, 0, 0, 1, 0, 1]
    ]  # fmt: skip


def test_no_label(good):
    unlabeled = VideoList(tuple(VideoItem(item.path) for item in good))
    assert VideoDataset(unlabeled, SPEC, plain, views=1)[0].label == -1


def test_collate(mixed):
    dataset = VideoDataset(mixed, SPEC, plain, repeats=2)
    batch = collate([dataset[0], dataset[4]])
    assert batch.clips.shape == (4, 3, 4, 32, 64) and batch.repeats == 2
    assert batch.labels.tolist() == [0, 0, 1, 1] and batch.labels.dtype == torch.int64
    assert batch.index.tolist() == [0, 0, 4, 4] and [video_in(clip) for clip in batch.clips] == [0, 0, 4, 4]
    assert batch.seen == 2 and batch.failures == ()
    moved = batch.to("meta")
    assert moved.clips.device.type == moved.labels.device.type == moved.index.device.type == "meta"
    assert moved.repeats == 2


def test_collate_leaves_failed_videos_out(mixed):
    dataset = VideoDataset(mixed, SPEC, plain, views=2)
    batch = collate([dataset[5], dataset[1], dataset[6]])
    assert batch.index.tolist() == [1, 1] and len(batch.failures) == 2 and batch.seen == 3
    empty = collate([dataset[5], dataset[6]])
    assert len(empty.clips) == len(empty.labels) == len(empty.index) == 0 and empty.seen == 2
    with pytest.raises(ValueError, match="different sizes in one batch"):
        collate([Sample(torch.zeros(1, 3, 4, 8, 8), 0, 0), Sample(torch.zeros(1, 3, 4, 8, 9), 0, 1)])


def batches(dataset, keys, workers, context=None):
    loader = DataLoader(
        dataset, batch_size=2, sampler=keys, num_workers=workers, collate_fn=collate, multiprocessing_context=context
    )
    return list(loader)


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.clips, b.clips) and torch.equal(a.labels, b.labels)
        assert torch.equal(a.index, b.index) and a.failures == b.failures


def test_workers_and_a_restart_change_nothing(mixed):
    dataset = VideoDataset(mixed, SPEC, train_transform(16), repeats=2, seed=3)
    keys = [(epoch, index) for epoch in range(2) for index in torch.randperm(7).tolist()]
    whole = batches(dataset, keys, workers=0)
    assert sum(len(batch.failures) for batch in whole) >= 4
    torch.manual_seed(123)
    assert_same(batches(dataset, keys, workers=2, context="fork"), whole)
    assert_same(batches(dataset, keys[6:], workers=1, context="fork"), whole[3:])  # in the middle of the first epoch


def test_spawned_workers(mixed):
    dataset = VideoDataset(mixed, SPEC, train_transform(16), seed=3)
    keys = [(1, 0), (1, 5), (1, 3)]
    assert_same(batches(dataset, keys, workers=1, context="spawn"), batches(dataset, keys, workers=0))


def test_a_dataset_can_be_pickled_and_keeps_no_file_open(good):
    dataset = VideoDataset(good, SPEC, train_transform(16))
    first = dataset[0]
    gc.collect()
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert equal(pickle.loads(pickle.dumps(dataset))[0], first)
    for epoch in range(5):
        dataset[epoch, 0]
    assert not before or len(os.listdir("/proc/self/fd")) <= before


def test_wrong_arguments(good):
    with pytest.raises(ValueError, match="holds no videos"):
        VideoDataset(VideoList(()), SPEC, plain)
    with pytest.raises(ValueError, match="repeats=0, views=None"):
        VideoDataset(good, SPEC, plain, repeats=0)
    with pytest.raises(ValueError, match="views=0"):
        VideoDataset(good, SPEC, plain, views=0)
    with pytest.raises(ValueError, match="repeats=2 is for training"):
        VideoDataset(good, SPEC, plain, repeats=2, views=1)
    with pytest.raises(IndexError, match="There is no video 5; the list has 5"):
        VideoDataset(good, SPEC, plain)[5]
    assert len(VideoDataset(good, SPEC, plain)) == 5 == len(list(VideoDataset(good, SPEC, plain)))


def failures(count, start=0):
    return [Failure(f"{n}.mp4", "broken.") for n in range(start, start + count)]


def test_failure_of_an_error():
    failure = Failure.of("a b.mp4", RuntimeError("a b.mp4: the file is\nempty."))
    assert failure == Failure("a b.mp4", "the file is empty.") and str(failure) == "a b.mp4: the file is empty."
    assert Failure.of("a.mp4", OSError()).cause == "OSError"


def test_log_counts_draws_and_files():
    log = FailureLog(max_share=0.5)
    log.add(failures(2), seen=10)
    log.add([Failure("1.mp4", "broken elsewhere."), *failures(1, start=7)], seen=10)
    assert log.finish() == (
        "4 of 20 videos drawn (20.0%; 3 files) could not be read:\n  0.mp4: broken.\n  1.mp4: broken.\n  7.mp4: broken."
    )
    assert FailureLog().finish() == "All 0 videos could be read."


def test_log_shows_twenty_and_writes_all(tmp_path):
    log = FailureLog(max_share=1)
    log.add(failures(23), seen=23)
    lines = log.summary().splitlines()
    assert len(lines) == 1 + 20 + 1 and lines[-1] == "  and 3 more."
    log.write(tmp_path / "failed.txt")
    assert (tmp_path / "failed.txt").read_text().splitlines() == [f"{n}.mp4: broken." for n in range(23)]


def test_log_stops_a_run_that_loses_too_much():
    log = FailureLog(max_share=0.05, minimum=50)
    log.add(failures(1), seen=8)  # too early to judge
    log.add([], seen=12)
    log.add([], seen=29)
    log.add(failures(1, start=1), seen=1)  # 2 of 50
    with pytest.raises(RuntimeError) as error:
        log.add(failures(1, start=2), seen=1)
    assert str(error.value) == (
        "3 of 51 videos drawn (5.9%; 3 files) could not be read, and at most 5.0% may fail; for example 0.mp4: broken. "
        "Check the list with `mvit-edu data check`, or raise max_share."
    )


def test_log_judges_few_videos_at_the_end():
    log = FailureLog()
    log.add(failures(1), seen=10)
    with pytest.raises(RuntimeError, match="1 of 10 videos drawn"):
        log.finish()
    exact = FailureLog(max_share=0.1)
    exact.add(failures(1), seen=10)
    assert exact.finish().startswith("1 of 10 videos drawn (10.0%; 1 file)")
    with pytest.raises(ValueError, match="3 failures among 2 videos"):
        exact.add(failures(3), seen=2)
    with pytest.raises(ValueError, match="max_share=5 must lie between 0 and 1"):
        FailureLog(max_share=5)
