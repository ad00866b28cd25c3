# What `snakemake --report` shows of a study.

from snakemake import io as flags

from tessera.report.words.rst import rst


def pictures_of(study):
    """What figures/index.json tells of a study's pictures, by stem; nothing before it is summarized."""
    index = Path("results", study, "figures", "index.json")
    try:
        return {Path(one["file"]).stem: one for one in json.loads(index.read_text())}
    except (OSError, ValueError, TypeError, KeyError):
        return {}  # a damaged one is made again with the study's results


def reported(study):
    """The files that `snakemake --report` shows, where they are there already.

    They are inputs of targets and no rule's output: a study's marker alone says whether its files are made.
    """
    if not Path(SUMMARIES[study].marker).exists():
        return []
    found, pictures = [], pictures_of(study)
    for file, kind in (("report.html", "page"), ("table.csv", "table")):
        path = f"results/{study}/{file}"
        about = {
            "category": study,
            "subcategory": "Results",
            "labels": {"result": kind},
        }
        if Path(path).exists():
            found.append(flags.report(path, caption=caption(kind), **about))
    if pictures:
        about = {
            "patterns": [f"{{study,{study}}}/figures/{{picture}}.png"],
            "category": study,
            "subcategory": "Pictures",
            "labels": lambda wildcards: {
                "result": pictures[wildcards.picture]["title"],
                "kind": pictures[wildcards.picture]["category"],
            },
        }
        found.append(flags.report("results", caption=caption("picture"), **about))
    return found


def caption(kind):
    return str(Path(workflow.basedir) / "workflow" / "report" / f"{kind}.rst")


def captions_of(studies):
    """What workflow/report/picture.rst says of each picture."""
    return {
        study: {stem: rst(one["caption"]) for stem, one in pictures_of(study).items()}
        for study in studies
    }
