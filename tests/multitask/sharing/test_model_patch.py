"""Model patches: a task's own norms and convolutions, what a step leaves of the others', what is handed on."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from multitask_stand_ins import LABELLED, tiny_source, two_labels
from sharing_stand_ins import STAGES, TASKS, Stages, segnet, sharing_of
from torch import Tensor, nn
from torch.testing import assert_close

from tessera.errors import StudyError
from tessera.models.encoders.options import AlexNetOptions
from tessera.models.encoders.plain import AlexNet
from tessera.multitask.batch_norm import use_batch_statistics
from tessera.multitask.epochs import Pretrained
from tessera.multitask.pretrain import pretrain
from tessera.training.compute import Compute

COMPUTE = Compute(torch.device("cpu"), "float32")
NAMES = ["classification", "classification.shade"]


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_a_pass_is_that_of_an_encoder_into_which_the_patch_is_copied() -> None:
    """In value, gradients and statistics; the encoder's own norms stay as they are."""
    torch.manual_seed(0)
    encoder, images = Stages(), torch.randn(4, 3, 16, 16)
    sharing = sharing_of("model_patch", encoder)
    for norm in sharing.patches["b:c"]:
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    copied = Stages()
    copied.load_state_dict(encoder.state_dict())
    for norm, own in zip((copied.norm1, copied.norm2), sharing.patches["b:c"], strict=True):
        norm.load_state_dict(own.state_dict())
    before, others = state_of(encoder), state_of(sharing.patches["a"])
    found, expected = sharing.features("b.c", sharing.maps(encoder, images, ["b.c"])), copied(images)
    assert torch.equal(found, expected)
    for z in (found, expected):
        z.square().mean().backward()
    assert torch.equal(encoder.conv1.weight.grad, copied.conv1.weight.grad)  # type: ignore[arg-type]
    assert encoder.norm1.weight.grad is None
    for norm, own in zip((copied.norm1, copied.norm2), sharing.patches["b:c"], strict=True):
        assert torch.equal(own.weight.grad, norm.weight.grad)
        assert_close(state_of(own), state_of(norm), rtol=0, atol=0)
        assert own.num_batches_tracked == 1
    assert_close(state_of(encoder), before, rtol=0, atol=0)
    assert_close(state_of(sharing.patches["a"]), others, rtol=0, atol=0)
    assert not sharing.patches["a"][0].weight.grad


def test_an_earlier_encoder_under_the_patch_tracks_nothing_and_uses_the_batch() -> None:
    encoder, images = Stages(), torch.randn(4, 3, 16, 16)
    sharing, earlier = sharing_of("model_patch", encoder), Stages()
    use_batch_statistics(earlier)
    before = state_of(sharing)
    with torch.no_grad():
        z = sharing.maps(earlier, images, ["a"])["a"]
        assert_close(state_of(sharing), before, rtol=0, atol=0)
        assert torch.equal(z, earlier(images))
    assert not earlier.training
    assert not earlier.norm1.track_running_stats


def test_what_goes_wrong_in_a_pass_leaves_the_encoder_its_own_norms() -> None:
    encoder = Stages()
    sharing, before = sharing_of("model_patch", encoder), state_of(encoder)
    with pytest.raises(RuntimeError):
        sharing.maps(encoder, torch.randn(2, 5, 8, 8), ["a"])
    nn.init.zeros_(sharing.patches["a"][0].weight)
    assert_close(state_of(encoder), before, rtol=0, atol=0)


def run(sharing: Any, **settings: Any) -> Pretrained:
    source = tiny_source(**{"tasks": LABELLED, "encoder": STAGES, "sharing": sharing, "epochs": 1, **settings})
    return pretrain(source, two_labels(), {}, COMPUTE, 0, None)


def test_the_encoder_has_the_norms_of_the_task_that_is_exported() -> None:
    for export, key in ((None, "classification"), (NAMES[1], "classification:shade")):
        made = run({"name": "model_patch", "export": export})
        patch, other = (made.sharing.patches[k] for k in (key, *({"classification", "classification:shade"} - {key})))  # type: ignore[index]
        assert torch.equal(made.encoder.norm1.weight, patch[0].weight)  # type: ignore[index, union-attr, arg-type]
        assert not torch.equal(patch[0].weight, other[0].weight)  # type: ignore[index]
        assert not torch.equal(patch[1].running_mean, other[1].running_mean)  # type: ignore[index]
        images = torch.randn(2, 3, 16, 16)
        with torch.no_grad():
            (task,) = [name for name in NAMES if name.replace(".", ":") == key]
            features = made.sharing.features(task, made.sharing.maps(made.encoder, images, [task]))
            assert_close(features, made.encoder(images))


def test_without_epochs_and_under_depthwise_the_encoder_is_handed_on_as_it_is() -> None:
    made, hard = run("model_patch", epochs=0), run("hard", epochs=0)
    assert_close(state_of(made.encoder), state_of(hard.encoder), rtol=0, atol=0)
    encoder = Stages()
    before = state_of(encoder)
    sharing_of("model_patch", encoder, kind="depthwise").export(encoder)
    assert_close(state_of(encoder), before, rtol=0, atol=0)


def test_depthwise_patches_are_the_identity_at_first_and_follow_each_stage() -> None:
    for encoder in (Stages().eval(), segnet().eval()):
        sharing, images = sharing_of("model_patch", encoder, kind="depthwise"), torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            assert_close(sharing.maps(encoder, images, TASKS)["b.c"], encoder(images))
    encoder, images = Stages().eval(), torch.randn(2, 3, 16, 16)
    sharing = sharing_of("model_patch", encoder, kind="depthwise")
    kernels = [patch.weight for patch in sharing.patches["a"]]
    for kernel in kernels:
        nn.init.normal_(kernel)
    with torch.no_grad():
        kept: dict[str, Any] = {}
        made = images
        for (_, stage), kernel in zip(encoder.stages(), kernels, strict=True):
            made = stage(made, kept)
            padded = F.pad(made, (1, 1, 1, 1))  # a channel's sum over its nine neighbours, weighed
            made = sum(
                kernel[:, 0, y, x].view(1, -1, 1, 1) * padded[:, :, y : y + made.shape[2], x : x + made.shape[3]]
                for y in range(3)
                for x in range(3)
            )  # type: ignore[assignment]
        assert_close(sharing.maps(encoder, images, ["a"])["a"], made, rtol=1e-4, atol=1e-5)


def test_an_encoder_without_batch_norms_says_so() -> None:
    with torch.device("meta"), pytest.raises(StudyError, match=r"AlexNet has no batch norm: set it to `depthwise`"):
        sharing_of("model_patch", AlexNet(AlexNetOptions()))
