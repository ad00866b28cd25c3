"""The stage `transfer_knowledge`, pinned: where these numbers change, its cached artifacts are no longer right."""

from typing import Any

import pins
import pytest
import torch
from torch import nn

from tessera.data.normalization import Normalization
from tessera.data.store import Dataset, Split
from tessera.jobs import TransferKnowledge
from tessera.models.encoders.cifar_resnet import ResNet8
from tessera.models.encoders.options import ResNet8Options
from tessera.training.compute import Compute
from tessera.transfer.teacher import Teacher
from tessera.transfer.train import train_network

METHODS: dict[str, dict[str, Any]] = {
    "none": {"name": "none"},
    "fine_tune": {"name": "fine_tune", "freeze_layers": 1},
    "probe": {"name": "soft_targets", "probe_epochs": 3, "probe_hidden": [8]},
    "clusters": {"name": "soft_targets", "teacher": "clusters", "clusters": 2},
    "common": {"name": "fsp", "width": 8},
    "channel_group": {"name": "fsp", "align": "channel_group", "images": "labeled"},
    "student_conv1x1": {"name": "fsp", "align": "student_conv1x1", "pairs": "within_stage"},
    "joint": {"name": "fsp", "mode": "joint", "width": 8},
    "cetl": {"name": "cetl", "fisher_batches": 1, "width": 8},
    **{name: {"name": name} for name in ("attention", "nst", "fitnet", "jacobian")},
    **{name: {"name": name} for name in ("rkd", "similarity", "correlation", "pkt")},
    "hint": {"name": "fitnet", "mode": "two_stage"},
    "vid": {"name": "vid", "places": "both"},
    "crd": {"name": "crd", "negatives": 5, "width": 8},
}
PINNED: dict[str, dict[str, float]] = {
    "attention": {
        "loss[0]": 32.19511252,
        "loss[1]": 24.81450189,
        "conv1": 240.6127472,
        "conv2": 1269.544865,
        "conv3": 2915.261539,
        "conv4": 3469.986161,
        "conv5": 2317.127489,
        "classifier": 167.7465463,
        "logits": 0.02369227125,
    },
    "cetl": {
        "loss[0]": 0.9718494454,
        "loss[1]": 1.016047359,
        "conv1": 240.6942745,
        "conv2": 1267.894119,
        "conv3": 2911.98963,
        "conv4": 3472.832479,
        "conv5": 2318.060233,
        "classifier": 167.7586674,
        "logits": 0.02192750945,
    },
    "channel_group": {
        "loss[0]": 9.203263263,
        "loss[1]": 6.853304222,
        "loss[2]": 0.7004774676,
        "loss[3]": 0.7267573056,
        "conv1": 256.9961131,
        "conv2": 1280.104202,
        "conv3": 2930.711986,
        "conv4": 3471.854696,
        "conv5": 2318.10553,
        "classifier": 167.7573661,
        "logits": 0.01972015931,
    },
    "clusters": {
        "loss[0]": 3.832553861,
        "loss[1]": 3.787172269,
        "conv1": 240.7040861,
        "conv2": 1267.9548,
        "conv3": 2912.033045,
        "conv4": 3473.003684,
        "conv5": 2318.199329,
        "classifier": 167.7452066,
        "logits": 0.02198233887,
    },
    "common": {
        "loss[0]": 8.987700247,
        "loss[1]": 9.541300055,
        "loss[2]": 0.6984146242,
        "loss[3]": 0.7313540501,
        "conv1": 257.4950145,
        "conv2": 1278.442047,
        "conv3": 2928.372284,
        "conv4": 3471.492656,
        "conv5": 2317.407541,
        "classifier": 167.7611559,
        "logits": 0.02580131864,
    },
    "correlation": {
        "loss[0]": 9.59990276,
        "loss[1]": 12.11384217,
        "conv1": 240.6887077,
        "conv2": 1267.975946,
        "conv3": 2912.306334,
        "conv4": 3472.867036,
        "conv5": 2318.562571,
        "classifier": 167.9250387,
        "logits": 0.02515977415,
    },
    "crd": {
        "loss[0]": 14.94347618,
        "loss[1]": 14.25961227,
        "conv1": 240.7791742,
        "conv2": 1268.014127,
        "conv3": 2912.158366,
        "conv4": 3473.130814,
        "conv5": 2318.556806,
        "classifier": 167.6566132,
        "logits": 0.02413090377,
    },
    "fine_tune": {
        "loss[0]": 0.7062526222,
        "loss[1]": 0.6926458923,
        "encoder": 6350.415616,
        "head": 1.089696693,
        "logits": 0.02966445846,
    },
    "fitnet": {
        "loss[0]": 162.3808726,
        "loss[1]": 145.5289028,
        "conv1": 240.6447351,
        "conv2": 1267.975898,
        "conv3": 2912.207867,
        "conv4": 3472.163332,
        "conv5": 2317.996589,
        "classifier": 167.7465501,
        "logits": 0.022426142,
    },
    "hint": {
        "loss[0]": 1.458760732,
        "loss[1]": 1.402176943,
        "loss[2]": 0.7001911201,
        "loss[3]": 0.7317281261,
        "conv1": 257.4003315,
        "conv2": 1278.522413,
        "conv3": 2928.554472,
        "conv4": 3471.177626,
        "conv5": 2317.445111,
        "classifier": 167.7603903,
        "logits": 0.02158565035,
    },
    "jacobian": {
        "loss[0]": 2.691651997,
        "loss[1]": 2.747695516,
        "conv1": 240.7354016,
        "conv2": 1267.923055,
        "conv3": 2912.002577,
        "conv4": 3472.67685,
        "conv5": 2317.931291,
        "classifier": 167.745777,
        "logits": 0.02132620289,
    },
    "joint": {
        "loss[0]": 637.6816611,
        "loss[1]": 699.2016355,
        "conv1": 240.9219924,
        "conv2": 1267.78458,
        "conv3": 2911.428336,
        "conv4": 3472.708641,
        "conv5": 2317.930368,
        "classifier": 167.7465257,
        "logits": 0.02157391314,
    },
    "none": {
        "loss[0]": 0.6993707321,
        "loss[1]": 0.7346818713,
        "conv1": 240.6943099,
        "conv2": 1267.89097,
        "conv3": 2911.991578,
        "conv4": 3472.832905,
        "conv5": 2318.066473,
        "classifier": 167.7587168,
        "logits": 0.02189983577,
    },
    "nst": {
        "loss[0]": 13.62644152,
        "loss[1]": 11.57567115,
        "conv1": 240.3411769,
        "conv2": 1271.52273,
        "conv3": 2914.566848,
        "conv4": 3468.292797,
        "conv5": 2317.841269,
        "classifier": 167.7453723,
        "logits": 0.0220530845,
    },
    "pkt": {
        "loss[0]": 122.3858189,
        "loss[1]": 120.8570619,
        "conv1": 240.6935349,
        "conv2": 1267.981072,
        "conv3": 2912.336938,
        "conv4": 3472.892248,
        "conv5": 2318.463672,
        "classifier": 167.9989785,
        "logits": 0.0206067793,
    },
    "probe": {
        "loss[0]": 3.816039184,
        "loss[1]": 3.834208939,
        "conv1": 240.6908151,
        "conv2": 1267.88873,
        "conv3": 2911.963213,
        "conv4": 3472.826797,
        "conv5": 2318.100939,
        "classifier": 167.7448919,
        "logits": 0.0209587218,
    },
    "rkd": {
        "loss[0]": 8.646547689,
        "loss[1]": 9.935355557,
        "conv1": 240.5736883,
        "conv2": 1267.64156,
        "conv3": 2911.723419,
        "conv4": 3473.286527,
        "conv5": 2319.219991,
        "classifier": 168.1191591,
        "logits": 0.02447774796,
    },
    "similarity": {
        "loss[0]": 25.58846071,
        "loss[1]": 18.50568184,
        "conv1": 240.6342591,
        "conv2": 1268.247897,
        "conv3": 2912.617569,
        "conv4": 3473.394135,
        "conv5": 2318.366619,
        "classifier": 167.7465763,
        "logits": 0.0236019382,
    },
    "student_conv1x1": {
        "loss[0]": 7.848612369,
        "loss[1]": 8.162633466,
        "loss[2]": 0.699093278,
        "loss[3]": 0.7353642594,
        "conv1": 257.3816874,
        "conv2": 1278.471639,
        "conv3": 2928.53802,
        "conv4": 3471.418934,
        "conv5": 2317.493124,
        "classifier": 167.7596475,
        "logits": 0.02599882482,
    },
    "vid": {
        "loss[0]": 4.701942309,
        "loss[1]": 4.728601781,
        "conv1": 240.7550154,
        "conv2": 1268.059863,
        "conv3": 2912.165523,
        "conv4": 3473.023381,
        "conv5": 2318.180358,
        "classifier": 166.5827771,
        "logits": 0.01178451495,
    },
}


def dataset() -> Dataset:
    labels = torch.arange(2).repeat(16)
    ramp = torch.arange(0, 208, 13)
    images = torch.where(labels.view(-1, 1, 1) == 1, ramp[None], ramp[:, None])[:, None].repeat(1, 3, 1, 1)
    images = images + torch.randint(0, 50, (32, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    train = Split(images.to(torch.uint8), labels)
    return Dataset(("a", "b"), 16, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), {"train": train, "test": train})


def teacher(images: torch.Tensor) -> Teacher:
    encoder = pins.fill(ResNet8(ResNet8Options()))
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        encoder(images / 255 * 4 - 2)
    return Teacher(encoder, ResNet8Options(), Normalization((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)))


@pytest.mark.parametrize("which", sorted(METHODS))
def test_results_change_only_with_the_version(which: str, cpu: Compute) -> None:
    """Other processors, libraries and threads changed these numbers by at most 3e-15 of them."""
    assert TransferKnowledge.version == 1, "pin the new version's numbers"
    method, target = METHODS[which], dataset()
    settings = TransferKnowledge.model_validate({
        "transfer": method,
        "network": {"name": "reduced_alexnet", "width": "quarter", "hidden": 8},
        "label_fraction": 0.5,
        "epochs": 2,
        "first_stage_epochs": 2,
        "iterations": 2,
        "batch_size": 8,
        "augmentation": "crop_flip",
        "optimizer": {"learning_rate": 0.02},
    })  # fmt: skip
    source = None if which == "none" else teacher(target.train.images[:].float())
    trained = train_network(settings, source, target, cpu, trial=0, resume=None)
    found = {f"loss[{i}]": row["loss"] for i, row in enumerate(trained.history)}
    found |= pins.projections(trained.network.state_dict())
    with torch.no_grad():
        found["logits"] = trained.network(target.test.images[:].float() / 255 * 4 - 2).abs().mean().item()
    pins.compare(found, PINNED[which], "TransferKnowledge")
