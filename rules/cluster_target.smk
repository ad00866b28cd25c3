# Clusters and retrieval of the encoder's features.


rule cluster_target:
    input:
        inputs_of_job,
    output:
        "artifacts/clusters/{job}/artifact.json",
    log:
        "logs/clusters/{job}.log",
    benchmark:
        "logs/clusters/{job}.bench.tsv"
    conda:
        "../envs/tessera.yaml"
    threads: threads_of_job
    resources:
        gpu=GPUS_A_JOB,
        mem_mb=mem_mb_of_job,
        runtime=minutes_of_job,
    params:
        spec=spec_of_job,
        gpus=gpus_to_see,
    message:
        "Clustering: {wildcards.job}"
    shell:
        "TESSERA_GPUS={params.gpus} python workflow/scripts/cluster_target.py {params.spec} > {log} 2>&1"
