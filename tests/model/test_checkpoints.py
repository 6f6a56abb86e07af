"""Every public dialect loads strictly and comes back bit-equal; wrong files are named for what they are."""

from __future__ import annotations

import json
import urllib.error
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.models.video import MViT_V1_B_Weights

from mvit_edu import CheckpointError, MViT, create_model, from_native, get_config, load_weights, to_native
from mvit_edu.model import checkpoints, dialects
from mvit_edu.model.embed import resize_position
from tests.model.variants import SMALL

# Names and shapes of the six public dialects of MViT-B.
SHAPES = json.loads(Path(__file__).with_name("dialects.json").read_text())
B = get_config("mvit_b_16x4")
DIALECTS = {
    "slowfast_fused_2022": ("slowfast", B),
    "slowfast_fused_2021_06_no_last_stage_kv_pool": ("slowfast", replace(B, kv_pool_last_stage=False)),
    "slowfast_separate_qkv": ("slowfast_separate", B),
    "pytorchvideo_16x4": ("pytorchvideo_main", B),
    "torchvision_mvit_v1_b": ("torchvision", B),
    "slowfast_b24_32x3": ("slowfast", get_config("mvit_b_24_32x3_slowfast")),
}


def made(name: str) -> dict[str, torch.Tensor]:
    """Random tensors under the names of a dialect; tensors that are registered twice are equal."""
    torch.manual_seed(0)
    state = {key: torch.randn(shape) for key, shape in SHAPES[name].items()}
    for key in state:
        if "_attention_pool_" in key:
            x, part = key.split("_attention_pool_")[1].split(".")[:2]
            twin = key.replace(f"_attention_pool_{x}.{part}", f"{part}_{x}")
            state[key] = state[twin]
    return state


@pytest.mark.parametrize("name", DIALECTS)
def test_dialect_loads_strictly_and_round_trips(name):
    dialect, config = DIALECTS[name]
    theirs = made(name)
    assert dialects.detect_dialect(theirs) == dialect
    model = MViT(config)
    report = load_weights(model, theirs)
    assert report.dialect == dialect and report.loaded == len(model.state_dict()) and not report.resized
    back = from_native(model.state_dict(), dialect)
    assert {k: tuple(v.shape) for k, v in back.items()} == {k: tuple(v.shape) for k, v in theirs.items()}
    assert all(torch.equal(back[key], value) for key, value in theirs.items())


def test_separate_weights_without_twins_are_pytorchvideo_0_1_5():
    theirs = {key: value for key, value in made("pytorchvideo_16x4").items() if "_attention_pool_" not in key}
    assert len(theirs) == 377 and dialects.detect_dialect(theirs) == "pytorchvideo"
    back = from_native(to_native(theirs), "pytorchvideo")
    assert set(back) == set(theirs) and all(torch.equal(back[key], value) for key, value in theirs.items())


SMALL_STATE = MViT(SMALL).state_dict()


@pytest.mark.parametrize("wrap", ["model_state", "state_dict", "module.", "_orig_mod.", "model.", "backbone."])
def test_wrappers_and_prefixes(wrap, tmp_path):
    state = from_native(SMALL_STATE, "slowfast")
    if wrap.endswith("."):
        state = {wrap + key: value for key, value in state.items()}
    else:
        state = {wrap: state, "epoch": 3, "optimizer_state": {"param_groups": []}, "cfg": "TRAIN: {}"}
    torch.save(state, tmp_path / "weights.pyth")
    model = MViT(SMALL)
    assert load_weights(model, tmp_path / "weights.pyth").dialect == "slowfast"
    assert all(torch.equal(value, SMALL_STATE[key]) for key, value in model.state_dict().items())


def test_native_and_image_stems():
    assert load_weights(MViT(SMALL), SMALL_STATE).dialect == "native"
    config = replace(SMALL, frames=1, cube_kernel=(1, 3, 3), pool_kernel=(1, 3, 3))
    model = MViT(config)
    flat = from_native(model.state_dict(), "pytorchvideo", image=True)
    assert flat["patch_embed.patch_model.weight"].shape == (16, 3, 3, 3)
    other = MViT(config)
    load_weights(other, flat)
    assert torch.equal(other.patch_embed.proj.weight, model.patch_embed.proj.weight)


def changed(**fields):
    return MViT(replace(SMALL, **fields)).state_dict()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (lambda: changed(depths=(1, 2, 1)), "They have 4 blocks, the model 3"),
        (lambda: changed(kv_pool_last_stage=False), "paper's form .* kv_pool_last_stage=False"),
        (lambda: changed(num_classes=7), r"first head.weight: \(7, 64\) .* \(5, 64\) .* new_head=True"),
        (lambda: changed(position="joint"), "first pos_embed.spatial.*position embeddings differ"),
        (lambda: changed(pool_kernel="s+1"), "The pooling kernels differ"),
        (lambda: changed(in_channels=1), "The cubes differ"),
        (lambda: {k: v for k, v in SMALL_STATE.items() if not k.startswith("head.")}, "have no classifier"),
        (
            lambda: SMALL_STATE | {"blocks.0.attn.rel_pos_h": torch.zeros(3, 16)},
            "first blocks.0.attn.rel_pos_h.*MViTv2",
        ),
        (lambda: {"conv1.weight": torch.zeros(64, 3, 7, 7)}, "this is no MViT"),
        (lambda: {"state": {0: {}}, "param_groups": [{"lr": 0.1}]}, "optimizer's state"),
        (lambda: {"epoch": 3, "loss": 0.5}, "no named tensors here, only 'epoch', 'loss'"),
    ],
)
def test_wrong_weights_are_named_and_change_nothing(state, message):
    model = MViT(SMALL)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_weights(model, state())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_released_weights_in_the_paper_form():
    model = MViT(replace(SMALL, kv_pool_last_stage=False))
    with pytest.raises(CheckpointError, match="first blocks.2.attn.pool_k.conv.weight.*kv_pool_last_stage=True"):
        load_weights(model, SMALL_STATE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n <!DOCTYPE html><html>404</html>", "is a web page"),
        (b"PK\x03\x04 cut off", "cannot be read as weights"),
        (b"just text", "cannot be read as weights"),
    ],
)
def test_wrong_files(tmp_path, content, message):
    path = tmp_path / "weights.pyth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_weights(MViT(SMALL), path)


def test_files_that_are_not_state_dicts(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_weights(MViT(SMALL), tmp_path / "none.pyth")
    with pytest.raises(CheckpointError, match="is a directory"):
        load_weights(MViT(SMALL), tmp_path)
    torch.save([1, 2], tmp_path / "list.pyth")
    with pytest.raises(CheckpointError, match="holds a list, not named tensors"):
        load_weights(MViT(SMALL), tmp_path / "list.pyth")
    torch.save(MViT(SMALL), tmp_path / "module.pyth")  # a pickled module could run any code: weights_only refuses
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        load_weights(MViT(SMALL), tmp_path / "module.pyth")


def test_new_head_only_when_asked_and_reported():
    model = MViT(SMALL)
    head = model.head.weight.clone()
    report = load_weights(model, changed(num_classes=7), new_head=True)
    assert report.new_head and "left the head at its random start" in str(report)
    assert torch.equal(model.head.weight, head)
    same = load_weights(model, SMALL_STATE, new_head=True)
    assert not same.new_head and torch.equal(model.head.weight, SMALL_STATE["head.weight"])


def test_not_strict_reports_what_it_left():
    model = MViT(SMALL)
    own = model.norm.weight.clone()
    state = {k: v for k, v in SMALL_STATE.items() if k != "norm.weight"} | {"extra": torch.zeros(1)}
    state["norm.bias"] = torch.zeros(3)
    report = load_weights(model, state, strict=False)
    assert report.missing == ("norm.weight", "norm.bias") and report.unexpected == ("extra",)
    assert "2 missing, first norm.weight; 1 unexpected, first extra" in str(report)
    assert torch.equal(model.norm.weight, own)


@pytest.mark.parametrize("position", ["space", "joint", "separate"])
def test_positions_are_resized_for_other_clips(position):
    source = MViT(replace(SMALL, position=position))
    longer = MViT(replace(SMALL, position=position, frames=8, crop=(48, 32)))
    thw = source.config.thw if position == "joint" else None
    report = load_weights(longer, source.state_dict(), thw=thw)
    assert report.resized and ("from 4x8x8 to 8x12x8" in str(report)) == (position == "joint")
    longer(torch.randn(1, 3, 8, 48, 32))
    if position == "separate":
        assert "pos_embed.temporal from 4x1x1 to 8x1x1" in str(report)
        expected = torch.nn.functional.interpolate(source.pos_embed.temporal.transpose(1, 2), 8, mode="linear")
        torch.testing.assert_close(longer.pos_embed.temporal, expected.transpose(1, 2))


def test_joint_positions_of_another_length_ask_for_the_grid():
    state = changed(position="joint")
    with pytest.raises(CheckpointError, match=r"grid cannot be told .* thw=\(T, H, W\)"):
        load_weights(MViT(replace(SMALL, position="joint", frames=7)), state)


def test_resize_position():
    table = torch.randn(1, 1 + 2 * 4 * 4, 6)
    assert torch.equal(resize_position(table, (2, 4, 4), (2, 4, 4)), table)
    bigger = resize_position(table, (2, 4, 4), (4, 6, 8))
    assert bigger.shape == (1, 1 + 4 * 6 * 8, 6) and torch.equal(bigger[:, 0], table[:, 0])
    constant = torch.ones(1, 32, 6)
    torch.testing.assert_close(resize_position(constant, (2, 4, 4), (3, 5, 7)), torch.ones(1, 105, 6))
    with pytest.raises(ValueError, match="33 rows does not fit a grid of 3x4x4"):
        resize_position(table, (3, 4, 4), (2, 4, 4))


def test_named_downloads_use_the_public_addresses(monkeypatch):
    from pytorchvideo.models.hub.vision_transformers import checkpoint_paths

    addresses = checkpoints.ADDRESSES
    assert addresses["torchvision:KINETICS400_V1"] == MViT_V1_B_Weights.KINETICS400_V1.url
    assert addresses["pytorchvideo:MVIT_B_16x4"] == checkpoint_paths["mvit_base_16x4"]
    assert addresses["pytorchvideo:MVIT_B_32x3"] == checkpoint_paths["mvit_base_32x3"]
    assert addresses["pytorchvideo:MVIT_B_16_IN1K"] == checkpoint_paths["mvit_base_16"]

    asked = []

    def download(address, **options):
        asked.append((address, options["weights_only"]))
        return from_native(SMALL_STATE, "torchvision")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    assert load_weights(MViT(SMALL), "torchvision:KINETICS400_V1").dialect == "torchvision"
    assert asked == [(MViT_V1_B_Weights.KINETICS400_V1.url, True)]

    def refused(*_args, **_kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refused)
    with pytest.raises(CheckpointError, match="could not download .* give the path of the file"):
        load_weights(MViT(SMALL), "torchvision:KINETICS400_V1")


def test_unknown_dialect():
    with pytest.raises(ValueError, match="no dialect 'jax'; use one of native, slowfast"):
        from_native(create_model("mvit_tiny").state_dict(), "jax")
