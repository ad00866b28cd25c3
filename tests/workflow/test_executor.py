"""What jobs ask of a cluster, on a login node without a GPU: an executor that submits nothing writes it down."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

# Snakemake finds an executor by the name of its module. The first attempt of a training meets its time limit.
EXECUTOR = """
import json
from pathlib import Path

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    job_deploy_sources=False, non_local_exec=True, implies_no_shared_fs=False, init_seconds_before_status_checks=0
)


class Executor(RemoteExecutor):
    def run_job(self, job):
        asked = {name: value for name, value in job.resources.items() if isinstance(value, int)}
        with Path("asked.jsonl").open("a") as file:
            file.write(json.dumps({"rule": job.rule.name, "attempt": job.attempt, **asked}) + "\\n")
        self.report_job_submission(SubmittedJobInfo(job))

    async def check_active_jobs(self, active_jobs):
        self.next_seconds_between_status_checks = 0.1
        for info in active_jobs:
            if info.job.rule.name == "pretrain_source" and info.job.attempt == 1:
                self.report_job_error(info, msg="SLURM-job '7' failed, SLURM status is: 'TIMEOUT'.")
                continue
            for file in [*info.job.output, *filter(None, [info.job.benchmark])]:
                Path(file).parent.mkdir(parents=True, exist_ok=True)
                Path(file).write_text("{}")
            self.report_job_success(info)
        return
        yield

    def cancel_jobs(self, active_jobs):
        pass
"""


@pytest.mark.parametrize(
    ("gpus", "options", "gpu", "minutes"),
    [
        ("", [], 1, [70, 140]),
        pytest.param(
            "", ["--set-resources", "pretrain_source:runtime=attempt*90"], 1, [90, 180], marks=pytest.mark.slow
        ),
        # As many at once as somebody says; a machine's own GPUs say nothing of a cluster's.
        pytest.param("0,1,2", ["--resources", "gpu=2"], 1, [70, 140], marks=pytest.mark.slow),
        pytest.param("", ["--config", "device=cpu"], 0, [70, 140], marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_a_cluster_is_asked_for_what_a_job_needs(
    run: Run, project: Path, tmp_path: Path, gpus: str, options: list[str], gpu: int, minutes: list[int]
) -> None:
    study = project / "config" / "studies" / "tiny.yaml"
    study.write_text(study.read_text().replace("trials: 2", "trials: 1"))
    plugin = tmp_path / "snakemake_executor_plugin_pretended"
    plugin.mkdir()
    (plugin / "__init__.py").write_text(EXECUTOR)
    path = f"{tmp_path}:{project / 'workflow'}"
    words = ("snakemake", "--executor", "pretended", "--jobs", "9", "--retries", "1", "--latency-wait", "1", *options)
    done = run(*words, at=project, CUDA_VISIBLE_DEVICES=gpus, PYTHONPATH=path)
    asked = [json.loads(line) for line in (project / "asked.jsonl").read_text().splitlines()]
    trainings = [job for job in asked if job["rule"] == "pretrain_source"]
    assert [job["attempt"] for job in trainings] == [1, 2]
    assert [job["gpu"] for job in trainings] == [gpu, gpu]
    assert [job["runtime"] for job in trainings] == minutes
    assert [job["mem_mb"] for job in trainings] == [8000, 8000]
    assert all("gpu" not in job for job in asked if job["rule"] in ("prepare_dataset", "summarize_study"))
    assert f"met its time limit of {minutes[0]} minutes (attempt 1 of 2)" in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("edit", ["image_size: 16", "image_size: [", None])
def test_a_job_that_starts_after_its_study_was_edited_does_what_it_was_sent_for(
    run: Run, project: Path, tmp_path: Path, edit: str | None
) -> None:
    plugin = tmp_path / "snakemake_executor_plugin_pretended"
    plugin.mkdir()
    (plugin / "__init__.py").write_text(EXECUTOR.replace('.write_text("{}")', '.write_text("{}") if 0 else None'))
    path = f"{tmp_path}:{project / 'workflow'}"
    sent = ("snakemake", "all_prepare_dataset", "--executor", "pretended", "--jobs", "9", "--latency-wait", "0")
    run(*sent, at=project, code=1, PYTHONPATH=path)  # it makes nothing, so that the job is still to be done
    job = next(project.glob("resume/datasets/*/job.json")).parent.name
    study = project / "config" / "studies" / "tiny.yaml"
    if edit is None:
        study.unlink()
    else:
        study.write_text(study.read_text().replace("image_size: 32", edit))
    manifest = f"artifacts/datasets/{job}/artifact.json"
    target = ("--target-jobs", f"prepare_dataset:job={job}", "--allowed-rules", "prepare_dataset", "--cores", "1")
    done = run("snakemake", manifest, "--mode", "remote", "--force", *target, "--nolock", "--no-hooks", at=project)
    assert json.loads((project / manifest).read_text())["settings"]["dataset"]["image_size"] == 32, done.stderr
