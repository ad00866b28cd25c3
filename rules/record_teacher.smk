# What a teacher says of views that are drawn once, for all students who are shown these.


rule record_teacher:
    input:
        inputs_of_job,
    output:
        "artifacts/teacher/{job}/artifact.json",
    log:
        "logs/teacher/{job}.log",
    benchmark:
        "logs/teacher/{job}.bench.tsv"
    priority: 10  # students wait for it
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
        "Recording a teacher: {wildcards.job}"
    shell:
        "TESSERA_GPUS={params.gpus} python workflow/scripts/record_teacher.py {params.spec} > {log} 2>&1"
