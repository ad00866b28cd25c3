# One target network per job, taught by the source encoder that the job names, and measured in the same process.


rule transfer_knowledge:
    input:
        inputs_of_job,
    output:
        "artifacts/transfer/{job}/artifact.json",
    log:
        "logs/transfer/{job}.log",
    benchmark:
        "logs/transfer/{job}.bench.tsv"
    conda:
        "../envs/tessera.yaml"
    threads: threads_of_job
    resources:
        gpu=gpus_of_job,
        mem_mb=mem_mb_of_job,
        runtime=minutes_of_job,
    params:
        specs=specs_of_jobs,
        gpus=gpus_to_see,
    message:
        "Transferring knowledge: {wildcards.job}"
    shell:
        "TESSERA_GPUS={params.gpus} python workflow/scripts/transfer_knowledge.py {params.specs} > {log} 2>&1"
