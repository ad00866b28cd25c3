"""Tasks: what is predicted? Pretext tasks make their labels from the image; supervised ones use the dataset's."""

from tessera.registry import Part
from tessera.tasks.options.base import TaskOptions
from tessera.tasks.options.contrast import SimCLROptions
from tessera.tasks.options.dense import DepthOptions, DisparityOptions, NormalsOptions, SemanticSegmentationOptions
from tessera.tasks.options.labelled import ClassificationOptions
from tessera.tasks.options.maps import ColorizationOptions, ReconstructionOptions, SegmentationOptions
from tessera.tasks.options.patches import RotationOptions, RotationWithClassificationOptions
from tessera.tasks.options.puzzles import JigsawOptions, JigsawPlusOptions

BASE = TaskOptions
PARTS = {
    "jigsaw": Part(
        "tessera.tasks.jigsaw:Jigsaw", JigsawOptions, "which permutation of nine tiles?", "Noroozi & Favaro 2016"
    ),
    "jigsaw_plus": Part(
        "tessera.tasks.jigsaw_plus:JigsawPlus",
        JigsawPlusOptions,
        "which permutation of nine tiles, some of another image?",
        "Noroozi et al. 2018",
    ),
    "rotation": Part(
        "tessera.tasks.rotation:Rotation",
        RotationOptions,
        "by how many quarter turns is the image turned?",
        "Gidaris, Singh & Komodakis 2018",
    ),
    "rwc": Part(
        "tessera.tasks.rwc:RotationWithClassification",
        RotationWithClassificationOptions,
        "how do three patches lie, and how are they turned?",
        "Mundhenk, Ho & Chen 2018",
    ),
    "colorization": Part(
        "tessera.tasks.colorization:Colorization",
        ColorizationOptions,
        "which colour has each pixel of a gray image?",
        "Zhang, Isola & Efros 2016",
    ),
    "segmentation": Part(
        "tessera.tasks.segmentation:Segmentation",
        SegmentationOptions,
        "which segments cut the image best?",
        "Xia & Kulis 2017",
    ),
    "reconstruction": Part(
        "tessera.tasks.reconstruction:Reconstruction",
        ReconstructionOptions,
        "the image from its features",
        "Kim, Lee & Song 2019, Eq. 5 and 6",
    ),
    "simclr": Part(
        "tessera.tasks.simclr:SimCLR",
        SimCLROptions,
        "which other view in the batch is of the same image?",
        "Chen, Kornblith, Norouzi & Hinton 2020",
    ),
    "classification": Part(
        "tessera.tasks.classification:Classification", ClassificationOptions, "the dataset's own labels (supervised)"
    ),
    "semantic_segmentation": Part(
        "tessera.tasks.semantic_segmentation:SemanticSegmentation",
        SemanticSegmentationOptions,
        "which class has each pixel? (supervised)",
    ),
    "depth": Part("tessera.tasks.depth:Depth", DepthOptions, "how far away is each pixel? (supervised)"),
    "disparity": Part("tessera.tasks.depth:Depth", DisparityOptions, "how near is each pixel? (supervised)"),
    "normals": Part("tessera.tasks.normals:Normals", NormalsOptions, "which way does each pixel face? (supervised)"),
}
