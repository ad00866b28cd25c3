"""config/config.yaml: which studies, how big, where the data lie, how to run."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from tessera.jobs import Run
from tessera.registry import Checked


class MlflowConfig(Checked):
    """Where runs are shown."""

    enabled: bool = Field(True, description="Log every run to MLflow.")
    uri: str = Field("sqlite:///mlflow.db", description="Tracking store or server.")
    experiment: str = Field("tessera", description="Name of the experiment there.")


class DvcConfig(Checked):
    """Where artifacts are stored."""

    enabled: bool = Field(True, description="`dvc commit` complete stages when Snakemake ends, in a DVC repository.")


class Tracking(Checked):
    """Tracking of runs and artifacts; neither is needed to run."""

    mlflow: MlflowConfig = Field(MlflowConfig(), description="MLflow.")
    dvc: DvcConfig = Field(DvcConfig(), description="DVC.")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _labels(value: Any) -> Any:
    """One or several labels; what a command line made a number of is the word that it was."""
    if value is None:
        return None
    listed = value if isinstance(value, list) else [value]
    return [str(item) if isinstance(item, int | float) and not isinstance(item, bool) else item for item in listed]


class Config(Checked):
    """config/config.yaml: which studies, how big, where the data lie, how to run."""

    studies: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        min_length=1, description="Studies to run: names under config/studies, or paths of YAML files."
    )
    scale: str | None = Field(None, description="paper, reduced, smoke, …; null: each study's own, else paper.")
    trials: int | None = Field(None, ge=1, le=1000, description="Trials of every study; null: each study's own.")
    rows: Annotated[list[str] | None, BeforeValidator(_labels)] = Field(
        None, min_length=1, description="Rows to run, by their labels, of every study in `studies`; null: all."
    )
    columns: Annotated[list[str] | None, BeforeValidator(_labels)] = Field(
        None, min_length=1, description="Columns to run, by their labels, of every study in `studies`; null: all."
    )
    strict: bool = Field(
        False,
        description="Refuse a dataset that is missing, instead of leaving out the cells that need it, and whatever of "
        "it is damaged, instead of passing it over.",
    )
    data_root: str = Field("data", description="Folder of datasets; the variable TESSERA_DATA overrides it.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto`: CUDA where there is one, else CPU.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="`auto`: bfloat16 autocast where the device has it in hardware, else float32, under the same keys, "
        "though figures may differ by points between the two. Named, it is part of the keys: name it where machines "
        "are compared or share artifacts.",
    )
    compile: Literal["auto"] | bool = Field(
        "auto",
        description="Whether a pretraining compiles the passes of its encoder, which then round otherwise. `auto`: "
        "where a measurement, kept under resume/compile, says that it saves twice what it takes, never in less than "
        "a quarter of an hour on a processor, or ten minutes on a GPU. Not part of the keys; keep one value within a "
        "study.",
    )
    threads: int = Field(
        1,
        ge=1,
        description="Processor threads of each training job. Not part of the keys, though each number sums in an order "
        "of its own: rounding differs, a training amplifies it, and figures come out otherwise, by a point or two in "
        "what was tried. Keep one number within a study.",
    )
    gpus: int = Field(1, ge=1, description="GPUs of each detector's training; others take one.")
    tracking: Tracking = Field(Tracking(), description="Tracking of runs and artifacts.")

    def data_folder(self) -> Path:
        """Where datasets lie: the variable TESSERA_DATA, else `data_root`."""
        return Path(os.environ.get("TESSERA_DATA") or self.data_root).expanduser()

    def run(self, study: str) -> Run:
        """How a job of a study runs."""
        mlflow = self.tracking.mlflow
        return Run(
            data_root=str(self.data_folder()),
            device=self.device,
            precision=self.precision,
            compile=self.compile,
            threads=self.threads,
            gpus=self.gpus,
            mlflow_uri=mlflow.uri if mlflow.enabled else None,
            mlflow_experiment=mlflow.experiment,
            studies=(study,),
        )
