# Targets by name: every study (`snakemake table4`), and every stage of the chosen studies (`snakemake all_pretrain_source`).

for study in SUMMARIES:

    rule:
        name:
            study
        input:
            results_of([study]),
            reported(study),
        params:
            captions=captions_of([study]),
        message:
            f"Study {study}"


for stage in FOLDERS:

    rule:
        name:
            f"all_{stage}"
        input:
            manifests_of_stage(stage),
        message:
            f"Stage {stage} of the chosen studies"
