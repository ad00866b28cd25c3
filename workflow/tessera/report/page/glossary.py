"""First-time words: what the names on a study's page mean, for those that occur there."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tessera import registry
from tessera.jobs import PretrainSource
from tessera.report.runs import Runs
from tessera.report.tables.table import Table


@dataclass(frozen=True)
class Term:
    """A word, how it is found in a study's own words, and what it means in a sentence.

    Attributes:
        pattern: Regular expression; letters are alike in either case where all of it is in small letters.
        also: Protocols and metrics with which it is shown even if no label says it.
    """

    name: str
    pattern: str
    text: str
    also: tuple[str, ...] = ()

    def occurs(self, words: str, measured: Iterable[str]) -> bool:
        """Whether a study says it, or measures by it."""
        case = re.IGNORECASE if self.pattern == self.pattern.lower() else re.NOFLAG
        return (
            bool(set(self.also) & set(measured))
            or re.search(rf"(?<!\w)(?:{self.pattern})(?!\w)", words, case) is not None
        )


PRETEXT = "pretext task"
TERMS = (
    Term(PRETEXT, r"pretext|pretrain\w*", "What an encoder learns to do with labels made from the image itself."),
    Term(
        "untrained (random) encoder",
        r"untrained|random encoder|from random",
        "The same network with the weights it starts from: what is above it was learned in pretraining.",
    ),
    Term("supervised", r"supervised", "The encoder is trained with the dataset's own labels: a bound, no rival."),
    Term(
        "linear probe",
        r"linear probe|linear_probe",
        "Logistic regression on the encoder's features, which stay as they are: which classes can be read off them.",
        ("linear_probe",),
    ),
    Term(
        "kNN",
        r"kNN|k-NN|knn",
        "An image gets the class of the training images whose features are nearest; nothing is trained.",
        ("knn",),
    ),
    Term(
        "student",
        r"students?|target network",
        "A small network of its own that is trained on the target's labels; the encoder may teach it.",
    ),
    Term("target only", r"target only", "The student learns from the labels alone: what a teacher has to beat."),
    Term(
        "fine-tuning",
        r"fine-?tun\w+|fine_tune",
        "The pretrained encoder itself is trained on, with a new head, on the target's labels.",
    ),
    Term(
        "soft targets",
        r"soft targets|soft_targets",
        "The student imitates its teacher's softened outputs beside the labels (Hinton et al. 2015).",
    ),
    Term(
        "FSP",
        r"FSP",
        "The student imitates how its teacher's features change from layer to layer: flow of solution procedure "
        "(Yim et al. 2017).",
    ),
    Term("CETL", r"CETL", "Student and teacher share a decoder, by which the student learns (Chen et al. 2018)."),
    Term(
        "TTE",
        r"TTE",
        "Temporal task ensemble: tasks train copies of one encoder in turn, which are fused after each epoch "
        "(Kim, Lee & Song 2019).",
    ),
    Term(
        "MSVL",
        r"MSVL",
        "Multi-task self-supervised visual learning: each task reads its own sparse mixture of the encoder's units "
        "(Doersch & Zisserman 2017).",
    ),
    Term(
        "equal (plain multi-task)",
        r"(?m:^equal)|plain multi-task",
        "All tasks train one encoder at once, their losses weighed alike.",
    ),
    Term("Ω", r"Ω", "The regularizer: keeps the features close to those of the epoch before."),
    Term(
        "DGR",
        r"DGR",
        "Dummy gradient norm regularization: the loss of heads that were never trained should have small gradients, so "
        "that the features serve any head.",
    ),
    Term("PTA", r"PTA", "Pseudo-task augmentation: several heads are trained for each task, each counting alike."),
    Term(
        "t-SNE",
        r"t-SNE",
        "A map in two dimensions in which neighbours among the features stay neighbours; distances beyond mean little.",
        ("tsne",),
    ),
    Term(
        "mAP",
        r"mAP",
        "Mean average precision: how well a detector finds the objects of each class and their boxes; 100 is perfect.",
        ("map_voc07", "map_area"),
    ),
    Term(
        "mIoU",
        r"mIoU",
        "Mean intersection over union: pixels both of a class and predicted as it, over those that are either; mean "
        "over the classes.",
        ("mean_iou",),
    ),
    Term(
        "relative error",
        r"relative error|rel\. error",
        "A pixel's error in depth or disparity as a share of the right value; mean over all pixels that have one.",
        ("relative_error",),
    ),
    Term(
        "within 11.25°, 22.5°, 30°",
        r"within [\d.]+\s?°",
        "The share of pixels whose predicted surface normal is less than so far from the right direction.",
        ("within_11_25", "within_22_5", "within_30"),
    ),
    Term("SSD", r"SSD", "A detector that finds objects and their boxes in one pass (Liu et al. 2016)."),
    Term(
        "clustering accuracy (ACC)",
        r"ACC|clustered|clusters?",
        "Images are grouped without labels; the share whose group is that of their class, groups and classes matched "
        "one to one as well as can be.",
        ("clustering",),
    ),
    Term("NMI", r"NMI", "Normalised mutual information of groups and classes: 0 unrelated, 100 the same.", ("nmi",)),
    Term("ARI", r"ARI", "Adjusted Rand index of groups and classes: 0 as by chance, 100 the same.", ("ari",)),
)  # fmt: skip


def glossary(table: Table, runs: Runs) -> list[tuple[str, str]]:
    """Words of the study that want explaining, in the table's order, with what they mean."""
    summary = table.summary
    asked = [word for comparison in summary.compare for word in (comparison.question,) if word]
    words = "\n".join([summary.title, summary.description, *asked, *summary.rows, *summary.columns])
    measured = {name for cell in summary.cells for name in (cell.protocol, cell.metric, cell.metric.rpartition(".")[2])}
    tasks = "; ".join(f"{name}: {title}" if title else name for name, title in _tasks(runs).items())
    here = {PRETEXT: f" Here {tasks}"} if tasks else {}
    return [
        (term.name, term.text + here.get(term.name, ""))
        for term in TERMS
        if term.name in here or term.occurs(words, measured)
    ]


def _tasks(runs: Runs) -> dict[str, str]:
    """Pretext tasks of the pretrainings, with the titles of the built-in ones."""
    known = registry.parts("task")
    titles = {name: part.title for name, part in known.items()}
    labelled = {name for name, part in known.items() if getattr(part.options, "reads", None) is not None}
    found: dict[str, str] = {}
    for run in runs.all:
        settings = run.about.get("settings")
        source = settings.get("source") if run.stage == PretrainSource.stage and isinstance(settings, Mapping) else None
        for task in (source.get("tasks") or ()) if isinstance(source, Mapping) else ():
            name = str(task.get("name", "")) if isinstance(task, Mapping) else str(task)
            if name and name not in labelled:
                found.setdefault(name, titles.get(name, ""))
    return found
