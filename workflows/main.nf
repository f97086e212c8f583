#!/usr/bin/env nextflow
// `jamie run` on every .h5mu of a folder; README.md beside this file says how.

params.input = 'data'
params.output = 'results'
params.impute = ['rna:protein', 'protein:rna']
params.labels = 'cell_type'
params.test_fraction = 0.2
params.seed = 0
params.threads = 1

process JAMIE {
    tag "${sample}"
    cpus params.threads
    publishDir params.output, mode: 'copy'

    input:
    tuple val(sample), path(mdata, stageAs: 'in/*')

    output:
    tuple val(sample), path("${sample}.h5mu"), path("${sample}.jamie"), emit: results
    path "${sample}.txt", emit: table
    path "${sample}_figures", emit: figures
    path "${sample}.log", emit: log

    script:
    def ways = params.impute instanceof List ? params.impute : params.impute.tokenize(',')
    def options = ways.collect { way -> "--impute '${way}'" }
    if (params.labels) options << "--labels '${params.labels}'"
    if (params.test_fraction) options << "--test-fraction ${params.test_fraction}"
    """
    export OMP_NUM_THREADS=${task.cpus} OPENBLAS_NUM_THREADS=${task.cpus} MKL_NUM_THREADS=${task.cpus}
    export NUMBA_NUM_THREADS=${task.cpus} LOKY_MAX_CPU_COUNT=${task.cpus}
    jamie run '${mdata}' -o '${sample}.h5mu' ${options.join(' ')} --seed ${params.seed} \\
        --model '${sample}.jamie' --figures '${sample}_figures' \\
        > '${sample}.txt' 2> '${sample}.log' || { code=\$?; cat '${sample}.log' >&2; exit \$code; }
    """
}

workflow {
    samples = channel
        .fromPath("${params.input}/*.h5mu", checkIfExists: true)
        .map { h5mu -> tuple(h5mu.baseName, h5mu) }
    JAMIE(samples)
}
