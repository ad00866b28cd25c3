# Images are read from their origin, once, and kept as one array.


rule prepare_dataset:
    output:
        "artifacts/datasets/{job}/artifact.json",
    log:
        "logs/datasets/{job}.log",
    benchmark:
        "logs/datasets/{job}.bench.tsv"
    priority: 30  # everything waits for images
    conda:
        "../envs/tessera.yaml"
    threads: threads_of_job
    resources:
        mem_mb=mem_mb_of_job,
        runtime=minutes_of_job,
    params:
        spec=spec_of_job,
    message:
        "Preparing images: {wildcards.job}"
    shell:
        "python workflow/scripts/prepare_dataset.py {params.spec} > {log} 2>&1"
