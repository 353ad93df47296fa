"""Models by name, by file and as modules; weights that do not fit; devices that are not here."""

from __future__ import annotations

import pickle
import re
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sam2.build_sam import build_sam2_video_predictor

import sam2track
from sam2track.errors import (
    DeviceError,
    ModelError,
    OutOfMemoryError,
    UnknownModelError,
    UsageError,
    WeightsNotFoundError,
)
from sam2track.models import inspection, loading, trust, weights, zoo
from sam2track.models.architecture import ARCHITECTURES, build

YAML = {"tiny": "t", "small": "s", "base-plus": "b+", "large": "l"}


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    path = tmp_path / "mine.pt"
    torch.save({"model": build(ARCHITECTURES["nano"]).state_dict()}, path)
    return path


@pytest.mark.parametrize("size", YAML)
@pytest.mark.parametrize("generation", ["2.1", "2"])
def test_our_modules_are_those_of_the_official_configurations(
    size: str, generation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The trunk reads values out of a linspace, which a tensor without storage has not.
    monkeypatch.setattr(torch, "linspace", partial(torch.linspace, device="cpu"))
    prefix = f"sam{generation}"
    config = f"configs/{prefix}/{prefix}_hiera_{YAML[size]}.yaml"
    with torch.device("meta"):
        official = build_sam2_video_predictor(config, device="meta")
        ours = build(ARCHITECTURES[f"sam{generation}-{size}"])
    expected = {name: value.shape for name, value in official.state_dict().items()}
    assert {name: value.shape for name, value in ours.state_dict().items()} == expected
    plain = (bool, int, float, str, type(None))
    for name, value in vars(official).items():
        if isinstance(value, plain) and hasattr(ours, name):
            assert getattr(ours, name) == value, name
    assert [block.window_size for block in ours.image_encoder.trunk.blocks] == [
        block.window_size for block in official.image_encoder.trunk.blocks
    ]
    decoders = (ours.sam_mask_decoder, official.sam_mask_decoder)
    settings = [{k: v for k, v in vars(d).items() if isinstance(v, plain)} for d in decoders]
    assert settings[0] == settings[1]


@pytest.mark.parametrize("postprocessing", [True, False])
def test_nano_takes_its_single_mask_as_it_is(postprocessing: bool) -> None:
    """With the fall-back of SAM 2 it follows things less well; see docs/nano.md."""
    decoders = {
        name: build(ARCHITECTURES[name], postprocessing=postprocessing).sam_mask_decoder
        for name in ("nano", "sam2.1-tiny")
    }
    falls_back = {name: one.dynamic_multimask_via_stability for name, one in decoders.items()}
    assert falls_back == {"nano": False, "sam2.1-tiny": postprocessing}


@pytest.mark.parametrize("postprocessing", [True, False])
def test_equal_weights_give_equal_features_and_masks(postprocessing: bool) -> None:
    official = build_sam2_video_predictor(
        "configs/sam2.1/sam2.1_hiera_t.yaml",
        device="cpu",
        apply_postprocessing=postprocessing,
        hydra_overrides_extra=["++model.image_size=128"],
    )
    tiny = ARCHITECTURES["sam2.1-tiny"]
    ours = build(tiny, image_size=128, postprocessing=postprocessing)
    ours.load_state_dict(official.state_dict())
    image = torch.randn(1, 3, 128, 128)
    with torch.inference_mode():
        one, other = ours.forward_image(image), official.forward_image(image)
    for a, b in zip(one["backbone_fpn"], other["backbone_fpn"], strict=True):
        assert torch.equal(a, b)
    assert ours.fill_hole_area == official.fill_hole_area


def test_the_embedded_model_loads_without_the_network(no_network: None) -> None:
    model = sam2track.load_model("nano", device="cpu")
    assert model.name == "nano"
    assert model.image_size == 256
    assert next(model.module.parameters()).dtype == torch.float32
    assert not model.module.training


@pytest.mark.parametrize("pays", [True, False])
@pytest.mark.parametrize(
    ("size", "rounded"), [(None, False), (256, False), (128, False), (320, True), (512, True)]
)
def test_auto_rounds_small_squares_only_where_they_are_not_the_models_own(
    size: int | None, rounded: bool, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "bf16_pays", lambda: pays)
    model = sam2track.load_model("nano", device="cpu", image_size=size)
    assert model.precision == ("bf16" if rounded and pays else "fp32")


def test_the_embedded_weights_are_small() -> None:
    path = weights.weights_on_disk(zoo.ZOO["nano"])
    assert path is not None
    assert path.stat().st_size < 10_000_000


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("nano", "nano"),
        ("sam2.1-large", "sam2.1-large"),
        ("sam2.1_hiera_large", "sam2.1-large"),
        ("facebook/sam2.1-hiera-large", "sam2.1-large"),
        ("large", "sam2.1-large"),
        ("sam2_hiera_base_plus", "sam2-base-plus"),
        ("sam2.1_hiera_b+", "sam2.1-base-plus"),
        ("SAM2.1-Tiny", "sam2.1-tiny"),
        ("sam2.1_hiera_b+.yaml", "sam2.1-base-plus"),
        ("b+", "sam2.1-base-plus"),
        ("base_plus", "sam2.1-base-plus"),
        ("l", "sam2.1-large"),
        ("sam2_hiera_large.pt", "sam2-large"),
        ("sam2.0-small", "sam2-small"),
        ("https://huggingface.co/facebook/sam2-hiera-tiny", "sam2-tiny"),
    ],
)
def test_names_as_people_type_them(given: str, name: str) -> None:
    assert zoo.resolve(given).name == name


@pytest.mark.parametrize("held", ["model.safetensors", "model.safetensors.index.json"])
def test_folders_of_transformers_are_found_by_name(
    held: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SAM2TRACK_MODELS", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder = tmp_path / "sam2.1-hiera-tiny"
    folder.mkdir()
    (folder / held).touch()
    assert weights.weights_on_disk(zoo.ZOO["sam2.1-tiny"]) is None
    (folder / "config.json").touch()
    assert weights.weights_on_disk(zoo.ZOO["sam2.1-tiny"]) == folder


@pytest.mark.parametrize("name", ["a.pt", "folder/a"])
def test_a_path_may_begin_at_home(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert loading.locate(f"~/{name}") == (tmp_path / name, None)
    # Of nobody who is here.
    assert loading.locate(f"~nobody-here/{name}") == (Path(f"~nobody-here/{name}"), None)


def test_an_unknown_name_suggests_the_right_one_and_lists_all() -> None:
    with pytest.raises(UnknownModelError, match=r"did you mean sam2.1-large\? known are nano, "):
        sam2track.load_model("sam2.1-lagre", device="cpu")
    with pytest.raises(UnknownModelError, match=r"^unknown model 'mmm"):  # nor is it a file's
        sam2track.load_model("m" * 300, device="cpu")


@pytest.mark.parametrize("model", ["", None, 3])
def test_what_names_no_model(model: str) -> None:
    with pytest.raises(UnknownModelError, match=f"^model {model!r}; give a name"):
        sam2track.load_model(model, device="cpu")


def test_missing_weights_say_which_file_to_put_where(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("SAM2TRACK_MODELS", str(tmp_path))
    address = "https://huggingface.co/facebook/sam2.1-hiera-tiny/resolve/main/sam2.1_hiera_tiny.pt"
    with pytest.raises(WeightsNotFoundError) as error:
        sam2track.load_model("sam2.1-tiny", device="cpu")
    assert f"put sam2.1_hiera_tiny.pt, which is at {address}, into {tmp_path}" in str(error.value)
    assert "SAM2TRACK_MODELS" in str(error.value)


def test_weights_are_found_in_a_named_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    state = build(ARCHITECTURES["sam2.1-tiny"]).state_dict()
    path = tmp_path / "sam2.1_hiera_tiny.pt"
    torch.save({"model": state}, path)
    monkeypatch.setenv("SAM2TRACK_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match="is not the published file: its SHA-256 is"):
        sam2track.load_model("tiny", device="cpu", image_size=256)
    tiny = replace(zoo.ZOO["sam2.1-tiny"], sha256=trust.sha256(path))
    monkeypatch.setitem(zoo.ZOO, "sam2.1-tiny", tiny)
    model = sam2track.load_model("tiny", device="cpu", image_size=256)
    assert (model.name, model.image_size) == ("sam2.1-tiny", 256)
    key = "memory_encoder.out_proj.weight"
    assert torch.equal(model.module.state_dict()[key], state[key])
    assert loading.choose_auto("cpu") == "sam2.1-tiny"
    assert "best one on this machine" in loading.why_auto("sam2.1-tiny", "cpu")


def test_a_file_is_recognised_by_its_tensors(nano: Path, tmp_path: Path) -> None:
    model = sam2track.load_model(nano, device="cpu")
    assert model.name == "mine.pt"
    state = torch.load(nano, weights_only=True)["model"]
    save_file({k: v.half().contiguous() for k, v in state.items()}, tmp_path / "x.safetensors")
    other = sam2track.load_model(str(tmp_path / "x.safetensors"), device="cpu")
    key = "image_encoder.neck.convs.0.conv.weight"
    assert torch.allclose(model.module.state_dict()[key], other.module.state_dict()[key], atol=1e-3)


def test_a_tensor_that_does_not_fit_is_named(nano: Path) -> None:
    state = torch.load(nano, weights_only=True)["model"]
    state["no_obj_ptr"] = torch.zeros(1, 7)
    torch.save({"model": state}, nano)
    with pytest.raises(ModelError, match=r"no_obj_ptr has shape \(1, 7\), expected \(1, 128\)"):
        sam2track.load_model(nano, device="cpu")
    del state["no_obj_ptr"]
    torch.save({"model": state}, nano)
    with pytest.raises(ModelError, match="lacks the tensor no_obj_ptr"):
        sam2track.load_model(nano, device="cpu")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("sam2.1-lagre", "sam2.1-large"),
        ("nanoo", "nano"),
        ("larg", "sam2.1-large"),
        ("sam2.1-base-pluss", "sam2.1-base-plus"),
        ("facebook/sam2.1-hiera-smal", "sam2.1-small"),
    ],
)
def test_near_misses(given: str, meant: str) -> None:
    with pytest.raises(UnknownModelError, match=rf"did you mean {re.escape(meant)}\?"):
        zoo.resolve(given)


def test_the_next_smaller_model() -> None:
    assert zoo.smaller("sam2.1-large") == "sam2.1-base-plus"
    assert zoo.smaller("sam2-tiny") == "nano"
    assert zoo.smaller("nano") is None
    assert zoo.smaller("mine.pt") is None


def test_a_file_counts_as_it_was_at_first_use(nano: Path) -> None:
    assert trust.first_use(nano) is None
    sam2track.load_model(nano, device="cpu")
    assert trust.first_use(nano) is not None
    sam2track.load_model(nano, device="cpu")
    torch.manual_seed(2)
    torch.save({"model": build(ARCHITECTURES["nano"]).state_dict()}, nano)
    with pytest.raises(ModelError, match=r"has changed since its first use on .* --accept"):
        sam2track.load_model(nano, device="cpu")
    inspection.verified(nano, accept=True)
    sam2track.load_model(nano, device="cpu")


def test_a_file_that_does_not_fit_is_not_recorded(nano: Path) -> None:
    torch.save({"image_encoder.trunk.patch_embed.proj.weight": torch.zeros(32, 3, 7, 7)}, nano)
    with pytest.raises(ModelError):
        sam2track.load_model(nano, device="cpu")
    assert trust.first_use(nano) is None


def test_weights_that_are_not_finite_are_refused(nano: Path, tmp_path: Path) -> None:
    state = torch.load(nano, weights_only=True)["model"]
    name = next(key for key in state if key.endswith("pos_embed"))
    state[name] = torch.full_like(state[name], float("nan"))
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(ModelError, match=f"{re.escape(name)} holds numbers that are not finite"):
        loading.load_model(tmp_path / "nan.safetensors", device="cpu")


@pytest.mark.parametrize(
    ("suffix", "reader", "error"),
    [
        (".pt", "torch.load", "unable to mmap 9 bytes from file <x>: Cannot allocate memory (12)"),
        (".safetensors", "safetensors.torch.load_file", "I/O error: Cannot allocate memory"),
    ],
)
def test_memory_that_is_short_is_not_blamed_on_the_file(
    suffix: str, reader: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(error)

    monkeypatch.setattr(reader, fail)
    path = tmp_path / f"w{suffix}"
    path.write_bytes(bytes(100))
    with pytest.raises(OutOfMemoryError, match=r"not enough memory to read .*; close other"):
        loading.load_model(path, device="cpu")


def test_text_is_said_to_be_text(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_text("hello weights\n")
    with pytest.raises(ModelError, match="it is text"):
        loading.load_model(path, device="cpu")


def test_a_record_that_is_broken_is_said(nano: Path, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trust, "records_file", lambda: tmp_path / "weights.json")
        (tmp_path / "weights.json").write_text("{")
        with pytest.raises(ModelError, match="remove it to begin a new one"):
            sam2track.load_model(nano, device="cpu")


def test_what_fine_tuning_leaves_is_read(nano: Path, tmp_path: Path) -> None:
    state = torch.load(nano, weights_only=True)["model"]
    whole = {"state_dict": {f"model.{k}": v.bfloat16() for k, v in state.items()}, "epoch": 3}
    whole["state_dict"]["loss.weight"] = torch.ones(3)
    torch.save(whole, tmp_path / "tuned.pt")
    module = sam2track.load_model(tmp_path / "tuned.pt", device="cpu").module
    key = "memory_encoder.out_proj.weight"
    assert torch.equal(module.state_dict()[key], state[key].bfloat16().float())


def test_downloads_that_fail_say_one_thing(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    from huggingface_hub.utils import logging

    def fail(*_: object) -> None:
        logging.get_logger("huggingface_hub.file_download").warning("Retrying in 1s")
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", fail)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("SAM2TRACK_MODELS", raising=False)
    with pytest.raises(WeightsNotFoundError, match="a folder and name that folder in SAM2TRACK"):
        weights.find_weights(zoo.ZOO["sam2.1-large"])
    # What is fetched is said at once, and nothing of how the hub tries.
    (line,) = caplog.messages
    assert line.startswith("fetching http")
    assert line.endswith("/resolve/main/sam2.1_hiera_large.pt, about 898 MB")
    assert "Retrying" not in capfd.readouterr().err
    with pytest.raises(WeightsNotFoundError, match=r"from the hub \(Name or service not known\)"):
        sam2track.load_model("some/repository", device="cpu")


def test_archives_that_unpack_to_more_than_they_are_are_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
        archive.writestr("archive/version", "3\n")
    assert bomb.stat().st_size < 100_000
    with pytest.raises(ModelError, match="would unpack to 50000002 bytes"):
        sam2track.load_model(bomb, device="cpu")


def test_tensors_that_claim_more_than_is_stored_are_refused(tmp_path: Path) -> None:
    name = "image_encoder.trunk.patch_embed.proj.weight"
    torch.save({"model": {name: torch.zeros(1).expand(10**12)}}, tmp_path / "claims.pt")
    with pytest.raises(ModelError, match="its tensors claim 4000000000000 bytes"):
        sam2track.load_model(tmp_path / "claims.pt", device="cpu")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1", "pointer of Git LFS"),
        (b"<!doctype html><html>", "web page"),
        (b"", "it is empty"),
        (b"hello", "cannot be read as weights"),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_files_that_are_something_else(
    content: bytes, message: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        sam2track.load_model(path, device="cpu")


def test_no_advice_to_run_code_is_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "video.pt"
    path.write_bytes(
        b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + bytes(range(256))
    )
    with pytest.raises(ModelError, match=r"\(it is no file that torch.save wrote\)") as caught:
        sam2track.load_model(path, device="cpu")
    assert "weights_only" not in str(caught.value)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("evil_was_here"),))


@pytest.mark.parametrize("kind", ["code", "text", "empty", "truncated", "nothing"])
def test_a_file_that_is_no_checkpoint_is_refused(
    kind: str, nano: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pt"
    if kind == "code":
        path.write_bytes(pickle.dumps({"model": Evil()}))
    elif kind == "text":
        path.write_text("version https://git-lfs.github.com/spec/v1")
    elif kind == "empty":
        path.touch()
    elif kind == "truncated":
        path.write_bytes(nano.read_bytes()[:100_000])
    else:
        path = tmp_path / "missing.pt"
    with pytest.raises(ModelError, match="it wants to run code" if kind == "code" else None):
        sam2track.load_model(path, device="cpu")
    assert not (tmp_path / "evil_was_here").exists()


def test_what_is_asked_for_is_used_or_refused() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="cuda was asked for"):
            sam2track.load_model("nano", device="cuda")
    with pytest.raises(UsageError, match="allowed are auto, cpu"):
        sam2track.load_model("nano", device="tpu")
    for device in ("cuda:256", "cuda:-1", "cpu,cuda"):  # of the first torch makes cuda:0
        with pytest.raises(UsageError, match="allowed are auto, cpu"):
            sam2track.load_model("nano", device=device)
    with pytest.raises(UsageError, match="allowed are auto, fp32"):
        sam2track.load_model("weights-not-there.pt", device="cpu", precision="int4")
    with pytest.raises(DeviceError, match="fp16 was asked for on a CPU"):
        sam2track.load_model("nano", device="cpu", precision="fp16")
    with pytest.raises(UsageError, match="multiples of 64"):
        sam2track.load_model("nano", device="cpu", image_size=100)
    for size in (256.0, True, "256"):
        with pytest.raises(UsageError, match=r"image size .*; give a whole number"):
            sam2track.load_model("nano", device="cpu", image_size=size)  # type: ignore[arg-type]


def test_a_module_handed_in_is_neither_moved_nor_resized() -> None:
    module = build(ARCHITECTURES["nano"], image_size=64)
    model = sam2track.load_model(module)
    assert model.module is module
    assert (model.precision, model.image_size) == ("fp32", 64)
    with pytest.raises(UsageError, match="never changed"):
        sam2track.load_model(module, image_size=128)
    with pytest.raises(ModelError, match="no SAM2Base"):
        sam2track.load_model(torch.nn.Linear(1, 1))  # type: ignore[arg-type]
    assert sam2track.load_model(model) is model


def test_a_model_handed_in_is_what_was_asked_for() -> None:
    model = sam2track.load_model(build(ARCHITECTURES["nano"], image_size=64))
    same = sam2track.load_model(model, device="cpu", precision="fp32", image_size=64)
    assert same is model
    with pytest.raises(UsageError, match=r"image size 128 was asked for, .* has 64"):
        sam2track.load_model(model, image_size=128)
    with pytest.raises(UsageError, match=r"precision bf16 was asked for, .* has fp32"):
        sam2track.load_model(model, precision="bf16")
    with pytest.raises(DeviceError, match="cuda was asked for"):
        sam2track.load_model(model, device="cuda")
    with pytest.raises(UsageError, match="image size 128"):
        sam2track.segment(np.zeros((9, 9), np.uint8), [(1, 1, 5, 5)], model, image_size=128)


def test_holes_scale_with_the_grid() -> None:
    module = build(ARCHITECTURES["sam2.1-tiny"], image_size=512)
    assert sam2track.load_model(module).fill_hole_area == 2
    assert sam2track.load_model(build(ARCHITECTURES["sam2.1-tiny"])).fill_hole_area == 8
