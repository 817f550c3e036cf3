#!/bin/bash
# One shard of the suites on a node's GPU; contrib/slurm/submit.sh submits the array.
# By hand, for shard 3 of 4 that is missing: LLMPERF_NIGHT=20261201 LLMPERF_SHARDS=4 sbatch --array=3 shard.sh
#SBATCH --job-name=llmperf
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=04:00:00
#SBATCH --output=llmperf-%A-%a.log
#SBATCH --requeue
# A job is queued again when its node fails or it is preempted, never for its exit code.
set -u
: "${LLMPERF_NIGHT:?the seed that all shards share, as in LLMPERF_NIGHT=20261201}"
: "${LLMPERF_SHARDS:?the number of shards}"
records=${LLMPERF_RECORDS:-$SLURM_SUBMIT_DIR/records/$LLMPERF_NIGHT}
mkdir -p "$records" || exit
# Slurm sets CUDA_VISIBLE_DEVICES; the run takes no other GPU. The record is written on the node's own disk.
scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/llmperf-$SLURM_JOB_ID-XXXXXX") || exit
trap 'rm -rf "$scratch"' EXIT

name=shard-$SLURM_ARRAY_TASK_ID
cd "$SLURM_SUBMIT_DIR" || exit
python -m pytest suites/ --llmperf-profile gpu --model distill \
    --llmperf-shard "$SLURM_ARRAY_TASK_ID/$LLMPERF_SHARDS" --llmperf-order "$LLMPERF_NIGHT" \
    --llmperf-record "$scratch/$name.json" -p no:cacheprovider
code=$?

# The record comes last: with it, the files beside it are there.
if [ -e "$scratch/$name.json" ]; then
    find "$scratch" -maxdepth 1 -name "$name.*" ! -name "$name.json" -exec cp -r {} "$records/" \; &&
        cp "$scratch/$name.json" "$records/" || exit 3
fi
exit "$code"
