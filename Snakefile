# Loads the configuration, makes the plan, includes the rules and names the targets: see rules/ for the stages.


include: "rules/common.smk"
include: "rules/resources.smk"
include: "rules/report.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        results_of(PLAN.studies),
        [reported(study) for study in PLAN.studies],
    params:
        captions=captions_of(PLAN.studies),
    message:
        "All chosen studies"


include: "rules/prepare_dataset.smk"
include: "rules/generate_pretext_labels.smk"
include: "rules/pretrain_source.smk"
include: "rules/record_teacher.smk"
include: "rules/transfer_knowledge.smk"
include: "rules/evaluate_target.smk"
include: "rules/cluster_target.smk"
include: "rules/summarize_study.smk"
include: "rules/targets.smk"


refuse_unknown_targets()


onstart:
    write_specifications()
    ask_slurm_that_answers()


onsuccess:
    shell(FINISH)


onerror:
    # A last impatient Ctrl-C does not cut its one line short.
    shell(f"trap '' INT; {FINISH} --stopped" if FAILURES.stopped else FINISH)
