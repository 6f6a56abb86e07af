"""`evaluate`: exact counts on any batch size and worker count, and nothing else changed by it."""

from __future__ import annotations

import random
from dataclasses import replace

import av
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, Subset

from mvit_edu import MViT, get_config
from mvit_edu.data import ClipDataset, ClipSpec, Failure, MotionShapes, Sample, VideoDataset, VideoItem, VideoList
from mvit_edu.evaluation import Protocol, evaluate, get_protocol

SPEC = ClipSpec(frames=4, stride=2)
BROKEN = (2, 3, 9)
WRONG = (4, 7)  # videos with a label that their picture does not show
CENTER = get_protocol("center")
TWO_BY_THREE = Protocol("two by three", views=2, crops=3)


class Brightness(nn.Module):
    """Knows the class of a picture by its brightness: class k is 40 k + 30. Gives 3 logits."""

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        value = (clips * 0.225 + 0.45).mean(dim=(1, 2, 3, 4)) * 255  # (B,)
        return -(value[:, None] - 40 * torch.arange(3) - 30).abs() / 10


class Samples(Dataset):
    """Clips given by hand: (clip (R, 3, T, H, W) or None, label) each."""

    def __init__(self, *pairs) -> None:
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        clip, label = self.pairs[index]
        return Sample(clip, label, index, () if clip is not None else (Failure(f"bad {index}", "no video"),))


class Given(nn.Module):
    """The logits are the first C values of the first channel of the first frame."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return clips[:, 0, 0].flatten(1)[:, : self.classes]


def carrying(*logits: list[float]) -> torch.Tensor:
    """Clips (R, 3, 1, 2, 2) for `Given`, one from each list of at most 4 logits."""
    clips = torch.zeros(len(logits), 3, 1, 2, 2)
    for clip, row in zip(clips, logits, strict=True):
        clip[0, 0].view(-1)[: len(row)] = torch.tensor(row)
    return clips


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Eleven files, three of which cannot be read and two of which have a wrong label."""
    folder, items = tmp_path_factory.mktemp("videos"), []
    for index in range(11):
        path = folder / f"v {index}.mp4"
        if index == BROKEN[0]:
            path.write_text("this is no video")
        elif index not in BROKEN:
            with av.open(str(path), "w") as container:
                stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
                stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
                picture = np.full((32, 48, 3), 40 * (index % 3) + 30, dtype=np.uint8)
                for _ in range(12):
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                container.mux(stream.encode(None))
        items.append(VideoItem(str(path), (index + (index in WRONG)) % 3))
    return VideoList(tuple(items), ("dark", "middle", "bright"))


def run(videos, model=None, protocol=CENTER, **options):
    dataset = protocol.dataset(videos, SPEC, crop=16)
    return evaluate(model or Brightness(), dataset, protocol=protocol, **({"max_failures": 0.5} | options))


def test_a_report_of_files(videos):
    report = run(videos)
    assert (report.videos, report.failed, report.correct()) == (8, 3, 6)
    assert report.index.tolist() == [0, 1, 4, 5, 6, 7, 8, 10]
    assert report.labels.tolist() == [0, 1, 2, 2, 0, 2, 2, 1] and report.classes == ("dark", "middle", "bright")
    assert report.confusion.tolist() == [[2, 0, 0], [0, 2, 0], [0, 2, 2]], "rows are the true classes"
    assert [f.path for f in report.failures] == [videos.items[index].path for index in BROKEN]
    assert report.scores.dtype == torch.float32 and not report.scores.is_inference()
    torch.testing.assert_close(report.scores.sum(dim=1), torch.ones(8))
    assert str(report).splitlines()[:3] == [
        "top-1 75.00% (6 of 8)",
        "center: 1 view x 1 crop of 16x16, short side 18 (for a look during training; not the paper's)",
        "videos: 8, failed to decode: 3",
    ]


@pytest.mark.parametrize("protocol", [CENTER, TWO_BY_THREE], ids=lambda p: p.name)
def test_batch_size_changes_nothing(videos, protocol):
    one = run(videos, protocol=protocol, batch=1)
    assert one.correct() == 6 and one.videos + one.failed == len(videos)
    for batch in (2, 3, 7, 12, 100):
        other = run(videos, protocol=protocol, batch=batch)
        assert torch.equal(other.confusion, one.confusion) and torch.equal(other.index, one.index)
        assert torch.equal(other.labels, one.labels) and other.failures == one.failures
        torch.testing.assert_close(other.scores, one.scores)


def test_worker_count_changes_nothing(videos):
    reports = [run(videos, protocol=TWO_BY_THREE, batch=18, workers=workers, order="shuffled") for workers in (0, 1, 2)]
    for report in reports:
        assert torch.equal(report.scores, reports[0].scores) and report.failures == reports[0].failures
        assert torch.equal(report.index, reports[0].index) and report.correct() == 6


def test_a_shuffled_video_does_not_depend_on_its_neighbors():
    clips = torch.rand(7, 6, 3, 8, 2, 2)
    pairs = [(clip, 0) for clip in clips]
    reports = [evaluate(Given(), Samples(*pairs), order="shuffled", batch=n, seed=4) for n in (1, 2, 3, 7)]
    assert all(torch.equal(report.scores, reports[0].scores) for report in reports) and reports[0].order == "shuffled"
    part = evaluate(Given(), Subset(Samples(*pairs), [5, 2]), order="shuffled", seed=4)
    assert part.index.tolist() == [2, 5] and torch.equal(part.scores, reports[0].scores[[2, 5]])
    twice = evaluate(Given(), Samples(pairs[0], pairs[0]), order="shuffled", seed=4)
    assert not torch.equal(twice.scores[0], twice.scores[1]), "every video has its own orders"
    for options in ({"order": "in order"}, {"order": "shuffled", "seed": 5}):
        assert not torch.equal(evaluate(Given(), Samples(*pairs), **options).scores, reports[0].scores)


@pytest.mark.parametrize(
    "order, expected", [("in order", [0, 1, 2, 3]), ("reversed", [3, 2, 1, 0]), ("first frame", [0, 0, 0, 0])]
)
def test_the_model_sees_the_frames_in_the_order_asked(order, expected):
    seen = []

    class Watching(Given):
        def forward(self, clips):
            seen.append(clips[:, 0, :, 0, 0].tolist())
            return super().forward(clips)

    clip = torch.arange(4.0).reshape(1, 1, 4, 1, 1).expand(2, 3, 4, 2, 2)
    report = evaluate(Watching(), Samples((clip, 0)), order=order)
    assert seen == [[expected, expected]] and report.order == order


def test_the_crops_of_a_view_are_shuffled_alike():
    seen = []

    class Watching(Given):
        def forward(self, clips):
            seen.extend(clips[:, 0, :, 0, 0].tolist())
            return super().forward(clips)

    clip = torch.arange(8.0).reshape(1, 1, 8, 1, 1).expand(6, 3, 8, 2, 2)
    evaluate(Watching(), Samples((clip, 0)), order="shuffled", protocol=TWO_BY_THREE)
    assert seen[0] == seen[1] == seen[2] != seen[3] == seen[4] == seen[5]


def test_softmax_is_averaged_over_the_clips_of_a_video():
    log = np.log
    # softmax (0.5, 0.3, 0.2) and (0.1, 0.2, 0.7): mean (0.3, 0.25, 0.45); the mean of the logits would favor class 0
    first = carrying([log(0.5), log(0.3), log(0.2)], [log(0.1), log(0.2), log(0.7)])
    second = carrying([0.0, 0, 0], [0.0, 0, 5])
    report = evaluate(Given(), Samples((first, 2), (second, 1)))
    torch.testing.assert_close(report.scores[0], torch.tensor([0.3, 0.25, 0.45]))
    assert report.correct() == 1 and report.labels.tolist() == [2, 1]
    assert report.protocol == "2 clips of 2x2 a video, mean of the softmax scores"
    largest = evaluate(Given(), Samples((first, 2)), aggregate="max")
    torch.testing.assert_close(largest.scores[0], torch.tensor([0.5, 0.3, 0.7]))
    assert largest.protocol == "2 clips of 2x2 a video, maximum of the softmax scores"


def test_charades_takes_the_maximum_of_the_sigmoid():
    clips = [
        torch.cat([carrying([-9.0, -9, -9, -9])] * 29 + [carrying(row)])
        for row in ([2.0, 1, 0], [1.0, 2, 0], [0.0] * 3)
    ]
    labels = [torch.tensor(row) for row in ([1.0, 1, 0, 0], [1.0, 0, 0, 0], [0.0, 1, 0, 0])]
    data = Samples(*zip(clips, labels, strict=True))
    report = evaluate(Given(4), data, protocol=get_protocol("charades"))
    torch.testing.assert_close(report.scores[0], torch.tensor([2.0, 1, 0, 0]).sigmoid())
    # class 0: ranked 1, 1, 0 -> AP 1; class 1: the positives are second and third -> (1/2 + 2/3) / 2
    torch.testing.assert_close(report.per_class, torch.tensor([1, 7 / 12, torch.nan, torch.nan]), equal_nan=True)
    assert report.mean_average_precision == pytest.approx(19 / 24)
    assert "mAP 79.17%" in str(report) and "maximum of the sigmoid" in report.protocol and report.labels.shape == (3, 4)
    averaged = evaluate(Given(4), data, protocol=get_protocol("charades"), aggregate="mean")
    assert "mean of the sigmoid scores" in averaged.protocol and "paper" not in averaged.protocol
    assert float(averaged.scores.max()) < 0.04


def test_one_label_as_one_of_several():
    data = Samples((carrying([3.0, 2, 1]), 0), (carrying([3.0, 2, 1]), 2))
    report = evaluate(Given(), data, multi_label=True)
    assert report.labels.tolist() == [[1, 0, 0], [0, 0, 1]]
    torch.testing.assert_close(report.scores[0], torch.tensor([3.0, 2, 1]).sigmoid())


def test_a_batch_without_readable_videos():
    good = (carrying([1.0, 0, 0]), 0)
    data = Samples((None, 0), (None, 1), good, (None, 2), good, good, good)
    for batch in (1, 2, 3, 7):
        report = evaluate(Given(), data, batch=batch, max_failures=0.5)
        assert (report.videos, report.failed, report.correct()) == (4, 3, 4) and report.index.tolist() == [2, 4, 5, 6]
    with pytest.raises(RuntimeError, match="None of the 2 videos could be read; the last of them: bad 1: no video"):
        evaluate(Given(), Samples((None, 0), (None, 1)), max_failures=1)


def test_too_many_failures_stop_it():
    good = (carrying([1.0, 0, 0]), 0)
    data = Samples(*[(None, 0)] * 5, *[good] * 94)
    for batch in (1, 7, 200):
        with pytest.raises(RuntimeError, match="could not be read, and at most 5.0% may fail; for example bad 0"):
            evaluate(Given(), data, batch=batch)
    spared = Samples(*[(None, 0)] * 5, *[good] * 95)  # the bad ones at the start are 5% of all, and 10% of 50
    assert {evaluate(Given(), spared, batch=batch).failed for batch in (1, 7, 50, 200)} == {5}
    calls = []

    class Counting(Given):
        def forward(self, clips):
            calls.append(len(clips))
            return super().forward(clips)

    with pytest.raises(RuntimeError, match="at most 5.0%"):
        evaluate(Counting(), data, batch=1)
    assert not calls, "the sixth failure is not waited for, nor are the other videos"


def test_memory_is_bounded():
    sizes = []

    class Counting(Given):
        def forward(self, clips):
            sizes.append(len(clips))
            return super().forward(clips)

    clips = torch.rand(5, 30, 3, 1, 2, 2)
    data = Samples(*[(clip, 0) for clip in clips])
    thirty = get_protocol("code_3crops")
    whole = evaluate(Counting(), data, protocol=thirty, batch=60)
    assert sizes == [60, 60, 30]
    sizes.clear()
    parts = evaluate(Counting(), data, protocol=thirty, batch=8)
    assert sizes == [8, 8, 8, 6] * 5 and torch.equal(parts.scores, whole.scores)


def tiny() -> tuple[MViT, torch.optim.Optimizer]:
    torch.manual_seed(1)
    config = replace(get_config("mvit_tiny"), frames=4, crop=32, num_classes=3, dropout=0.5, drop_path=0.2)
    model = MViT(config)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def test_a_training_goes_on_as_if_nothing_had_been_evaluated():
    clips = torch.rand(5, 1, 3, 4, 32, 32)
    data = Samples(*[(clip, index % 3) for index, clip in enumerate(clips)])

    def train(evaluated: bool) -> tuple[list[torch.Tensor], float, float]:
        model, optimizer = tiny()
        random.seed(2)
        np.random.seed(2)
        torch.manual_seed(2)
        for _ in range(2):
            if evaluated:
                evaluate(model, data, batch=2, order="shuffled")
            loss = nn.functional.cross_entropy(model(torch.rand(2, 3, 4, 32, 32)), torch.tensor([0, 1]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return [p.detach().clone() for p in model.parameters()], random.random(), float(np.random.rand())

    (plain, *numbers), (other, *after) = train(False), train(True)
    assert numbers == after and all(torch.equal(a, b) for a, b in zip(plain, other, strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_no_random_number_is_taken(videos, workers):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run(videos, workers=workers, order="shuffled")
    assert torch.equal(torch.get_rng_state(), before)


def test_every_module_keeps_its_mode():
    class Modes(Given):
        def __init__(self, fails: bool = False) -> None:
            super().__init__()
            self.frozen, self.free, self.fails = nn.Dropout(), nn.Dropout(), fails
            self.frozen.eval()

        def forward(self, clips):
            assert not (self.training or self.free.training or self.frozen.training)
            assert torch.is_inference_mode_enabled()
            if self.fails:
                raise KeyboardInterrupt
            return super().forward(clips)

    for model in (Modes(), Modes(fails=True), Modes().eval()):
        modes = [module.training for module in model.modules()]
        try:
            evaluate(model, Samples((carrying([1.0, 0, 0]), 0)))
        except KeyboardInterrupt:
            assert model.fails
        assert [module.training for module in model.modules()] == modes


def test_bf16_runs_the_model_and_the_softmax_is_float32():
    types = []

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(12, 3)

        def forward(self, clips):
            types.append(self.head(clips.flatten(1)).dtype)
            return self.head(clips.flatten(1))

    model, data = Linear(), Samples((torch.rand(4, 3, 1, 2, 2), 0))
    full, half = (evaluate(model, data, precision=precision) for precision in ("fp32", "bf16"))
    assert types == [torch.float32, torch.bfloat16] and half.scores.dtype == torch.float32
    assert float(half.scores.sum()) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(half.scores, full.scores, atol=0.02, rtol=0)
    assert not torch.equal(half.scores, full.scores)


def test_generated_clips_are_evaluated_like_files():
    data = MotionShapes(14, "val", size=16, frames=4, motions=("horizontal", "size"))
    report = evaluate(Given(4), ClipDataset(data), batch=4)
    assert report.classes == ("left", "right", "grow", "shrink") and report.protocol == "1 clip of 16x16 a video"
    assert report.confusion.sum(dim=1).tolist() == [4, 4, 3, 3] and report.index.tolist() == list(range(14))


def test_a_constant_model_gets_the_share_of_the_first_class():
    class Constant(nn.Module):
        def forward(self, clips):
            return torch.zeros(len(clips), 8)

    report = evaluate(Constant(), Samples(*[(carrying([0.0]), label) for label in (0, 1, 5, 6, 7, 7)]))
    assert report.correct(1) == 1 and report.correct(5) == 2


def test_scores_that_are_not_finite(videos):
    class Breaks(Brightness):
        def forward(self, clips):
            logits = super().forward(clips)
            logits[logits[:, 2] > -1, 1] = self.value  # the bright videos; 5 is the first of them
            return logits

    for value in (torch.nan, torch.inf):
        model = Breaks()
        model.value = value
        with pytest.raises(ValueError, match="v 5.mp4: the model's scores are not finite"):
            run(videos, model, batch=5)


def test_videos_without_a_label(videos):
    items = [*videos.items[:-1], replace(videos.items[-1], label=None)]
    with pytest.raises(ValueError, match="v 10.mp4 has no label"):
        run(replace(videos, items=tuple(items)), model=lambda clips: pytest.fail("told before any work"))
    with pytest.raises(ValueError, match="Video 1 has no label"):
        evaluate(Given(), Samples((carrying([0.0]), 0), (carrying([0.0]), -1)))


def test_what_does_not_fit(videos):
    clip = carrying([1.0, 0, 0])
    one, several = Samples((clip, 0)), Samples((clip, torch.tensor([1.0, 0])))
    for dataset, options, text in [
        (one, {"order": "backwards"}, "no order 'backwards'"),
        (one, {"precision": "half"}, "precision='half' does not exist; choose one of fp32, bf16, fp16"),
        (one, {"batch": 0}, "batch=0"),
        (one, {"aggregate": "sum"}, "'sum'"),
        (one, {"protocol": get_protocol("paper")}, "'paper' has 5 clips a video, the dataset gives 1"),
        (one, {"classes": ("a", "b")}, "names of 2 classes, but the model has 3 scores"),
        (Samples(), {}, "no videos"),
        (Samples((clip, 0), (clip, 3)), {}, "Video 1 has the label 3, but the model has scores for 0 to 2 only"),
        (several, {}, "labels for 2 classes, the model has scores for 3"),
        (several, {"multi_label": False}, "multi_label cannot be False"),
        (Subset(one, [0, 0]), {}, "gave a video twice"),
        (VideoDataset(videos, SPEC, CENTER.transform(16)), {}, "random clips for training"),
    ]:
        with pytest.raises(ValueError, match=text):
            evaluate(Given(), dataset, **options)
    with pytest.raises(TypeError, match="wants a dataset of Samples, such as a VideoDataset; got tuple"):
        evaluate(Given(), MotionShapes(2))
    with pytest.raises(ValueError, match=r"one row of logits a clip, got \(2, 3\)"):
        evaluate(lambda_model(lambda clips: torch.zeros(2, 3)), one)


def lambda_model(function) -> nn.Module:
    model = nn.Module()
    model.forward = function
    return model


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(videos):
    model, _ = tiny()
    dataset = CENTER.dataset(videos, SPEC, crop=32)
    options = {"protocol": CENTER, "max_failures": 0.5}
    expected = evaluate(model, dataset, **options)
    report = evaluate(model, dataset, device="cuda", workers=2, **options)
    assert next(model.parameters()).is_cuda and report.scores.device.type == "cpu"
    torch.testing.assert_close(report.scores, expected.scores, atol=1e-3, rtol=0)
    assert torch.equal(evaluate(model, dataset, **options).scores, report.scores), "it stays where it is"
    half = evaluate(model, dataset, precision="bf16", **options)
    torch.testing.assert_close(half.scores, expected.scores, atol=0.02, rtol=0)


def test_progress_counts_videos(videos, capsys):
    run(videos, progress=True, batch=3)
    assert "11/11" in capsys.readouterr().err
    run(videos, batch=3)
    assert not capsys.readouterr().err
