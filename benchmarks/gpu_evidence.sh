#!/usr/bin/env bash
# The speed, start-up and memory suites on a GPU with the real architectures on dummy weights; what docs/evidence/
# holds was made by this.      benchmarks/gpu_evidence.sh OUT_DIR [SUITE…]      (vLLM and the plugin importable)
set -uo pipefail
out=$1
shift
all=(startup streaming latency throughput memory)
files=()
for suite in "${@:-${all[@]}}"; do files+=("suites/test_$suite.py"); done
work=$(mktemp -d)
mkdir -p "$out"
python3 benchmarks/dummy_models.py --out "$work/dummy"
memory() { nvidia-smi --query-gpu=name,driver_version,memory.used,memory.total --format=csv; }
{
  date -u +%Y-%m-%d
  python3 -V
  python3 -m pip list 2>/dev/null | grep -i -E '^(vllm|torch|pytest|openai|httptools|nvidia-ml-py|scipy) '
} > "$out/versions.txt"
memory > "$out/memory-before.txt"
timeout 520 python3 -m pytest -p pytest_llmperf.plugin -p pytest_llmperf.model_option -p no:cacheprovider \
  "${files[@]}" --llmperf-profile "$work/dummy/models.toml" --llmperf-budgets suites/budgets.toml \
  --model distill --durations=10 --llmperf-record "$out/record.json" > "$out/pytest.log" 2>&1
echo "exit code $?" >> "$out/pytest.log"
memory > "$out/memory-after.txt"
pgrep -fc 'vllm|VLLM' >> "$out/memory-after.txt" || true
cat "$out/memory-before.txt" "$out/memory-after.txt"
tail -n 90 "$out/pytest.log"
