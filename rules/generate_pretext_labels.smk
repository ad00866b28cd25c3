# What a task needs beforehand: permutation sets, colour priors.


rule generate_pretext_labels:
    input:
        inputs_of_job,
    output:
        "artifacts/pretext/{job}/artifact.json",
    log:
        "logs/pretext/{job}.log",
    benchmark:
        "logs/pretext/{job}.bench.tsv"
    priority: 20  # the longest jobs wait for these
    conda:
        "../envs/tessera.yaml"
    resources:
        mem_mb=mem_mb_of_job,
        runtime=minutes_of_job,
    params:
        spec=spec_of_job,
    message:
        "Making pretext labels: {wildcards.job}"
    shell:
        "python workflow/scripts/generate_pretext_labels.py {params.spec} > {log} 2>&1"
