#!/bin/bash
# Submit one night and wait for its verdict: contrib/slurm/submit.sh [SHARDS], from the repository of the suites.
# Ends with the exit code of the merge, 0 only if the night is green.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export LLMPERF_SHARDS=${1:-4}
export LLMPERF_NIGHT=${LLMPERF_NIGHT:-$(date +%Y%m%d)}
# A night is asked once: records of an earlier one must not stand in for shards that are lost.
mkdir -p "${LLMPERF_RECORDS:=$PWD/records/$LLMPERF_NIGHT}"
if [ -n "$(ls -A "$LLMPERF_RECORDS")" ]; then
    echo "$LLMPERF_RECORDS holds the records of a night; set LLMPERF_NIGHT to another number" >&2
    exit 4
fi
export LLMPERF_RECORDS
shards=$(sbatch --parsable --export=ALL --array="1-$LLMPERF_SHARDS" "$here/shard.sh")
# afterany: a red or lost shard is for the merge to judge. The id may be followed by ";CLUSTER".
exec sbatch --wait --export=ALL --dependency="afterany:${shards%%;*}" "$here/merge.sh"
