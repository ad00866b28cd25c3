# Measurement of a network, or of the encoder itself: made where its model was, if that is made in the same run.


rule evaluate_target:
    input:
        inputs_of_job,
    output:
        "artifacts/target/{job}/artifact.json",
    log:
        "logs/target/{job}.log",
    benchmark:
        "logs/target/{job}.bench.tsv"
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
        "Evaluating: {wildcards.job}"
    shell:
        "TESSERA_GPUS={params.gpus} python workflow/scripts/evaluate_target.py {params.specs} > {log} 2>&1"
