"""Stage `summarize_study`: from measurements to tables and pages."""

from pathlib import Path

from tessera.artifacts import verify_all
from tessera.jobs import SummarizeStudy
from tessera.report.page.index import write_index
from tessera.report.summary import summarize
from tessera.stages import explained, parse_spec
from tessera.tracking.dvc import gather

with explained():
    study = parse_spec(SummarizeStudy)
    verify_all(study.artifacts)  # as every stage does with what it reads
    print(summarize(study, Path()))
    gather(Path())
    write_index(Path())
