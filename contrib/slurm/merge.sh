#!/bin/bash
# The verdict on the night, once all shards have ended, however they ended. Exit code of the run on one machine.
#SBATCH --job-name=llmperf-merge
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=00:30:00
#SBATCH --output=llmperf-merge-%j.log
set -u
: "${LLMPERF_NIGHT:?the seed that the shards shared}"
records=${LLMPERF_RECORDS:-$SLURM_SUBMIT_DIR/records/$LLMPERF_NIGHT}
cd "$SLURM_SUBMIT_DIR" || exit
pytest-llmperf merge "$records"/shard-*.json --out "$records/night.json" --junitxml "$records/junit.xml"
