# One encoder per job, learned from all tasks together; what measures it is made in the same process.


rule pretrain_source:
    input:
        inputs_of_job,
    output:
        "artifacts/source/{job}/artifact.json",
    log:
        "logs/source/{job}.log",
    benchmark:
        "logs/source/{job}.bench.tsv"
    priority: 10  # the longest jobs, and what most others wait for
    conda:
        "../envs/tessera.yaml"
    threads: threads_of_job
    resources:
        gpu=GPUS_A_JOB,
        mem_mb=mem_mb_of_job,
        runtime=minutes_of_job,
    params:
        specs=specs_of_jobs,
        gpus=gpus_to_see,
    message:
        "Pretraining: {wildcards.job}"
    shell:
        "TESSERA_GPUS={params.gpus} python workflow/scripts/pretrain_source.py {params.specs} > {log} 2>&1"
