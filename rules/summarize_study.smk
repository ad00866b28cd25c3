# The tables of a study. The marker's name holds the key of all that they show, so a stale table is never taken for fresh.


rule summarize_study:
    input:
        inputs_of_study,
    output:
        "results/{study}/provenance-{key}.json",
    log:
        "logs/summaries/{study}-{key}.log",
    benchmark:
        "logs/summaries/{study}-{key}.bench.tsv"
    conda:
        "../envs/tessera.yaml"
    resources:
        mem_mb=2_000,
        runtime=30,
    params:
        spec=spec_of_study,
    message:
        "Summarizing: {wildcards.study}"
    shell:
        "python workflow/scripts/summarize_study.py {params.spec} > {log} 2>&1"
