"""Why servers don't start, as data: what the log says → what it means → what to do.

Every pattern was seen in a real log or stands word for word in the source of vLLM, transformers or
huggingface_hub. ``cause`` and ``remedy`` may use the named groups of the pattern, and ``{row}``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class KnownFailure:
    """One row of the table."""

    name: str
    pattern: re.Pattern[str]
    cause: str
    remedy: str


def _known(name: str, pattern: str, cause: str, remedy: str) -> KnownFailure:
    return KnownFailure(name, re.compile(pattern, re.MULTILINE), cause, remedy)


KNOWN: tuple[KnownFailure, ...] = (
    _known(
        "seeded request in chunks on the CPU",
        r"RuntimeError: CPU Generator does not use offset",
        "vLLM's CPU engine ends when the prompt of a request that has a `seed` is prefilled in chunks",
        "give {row} the arguments --no-enable-chunked-prefill and --max-num-batched-tokens (at least max_model_len)",
    ),
    _known(
        "weights directory missing",
        r"HFValidationError: Repo id must be in the form .*?: '(?P<path>[^']*)'",
        "the weights directory {path} does not exist",
        "correct `weights` of {row} in models.toml: a directory that exists, or a hub id such as org/name",
    ),
    _known(
        "weights absent and offline",
        r"LocalEntryNotFoundError|Cannot find an appropriate cached snapshot folder|"
        r"outgoing traffic has been disabled",
        "the weights are not in the local Hugging Face cache and the hub may not be asked (offline)",
        "fetch them first with `hf download`, or unset HF_HUB_OFFLINE",
    ),
    _known(
        "gated repository",
        r"GatedRepoError|Cannot access gated repo|You are trying to access a gated repo",
        "the weights lie in a gated repository of the Hugging Face hub",
        "accept its licence on the model's page, then log in with `hf auth login` or set HF_TOKEN",
    ),
    _known(
        "repository or revision unknown",
        r"RepositoryNotFoundError|RevisionNotFoundError|"
        r"is not a local folder and is not a valid model identifier",
        "the Hugging Face hub has no such repository or revision (or it is private)",
        "correct `weights` and `revision` of {row} in models.toml; for a private one set HF_TOKEN",
    ),
    _known(
        "hub unreachable",
        r"We couldn't connect to '(?P<endpoint>[^']*)'",
        "the Hugging Face hub ({endpoint}) can't be reached and the files are not in the local cache",
        "fetch the weights where the network allows it (`hf download`), or give a directory as `weights`",
    ),
    _known(
        "port taken",
        r"\[Errno 98\] (?:error while attempting to bind on address .*)?[Aa]ddress already in use",
        "the port was taken by another process between its choice and its use, several times",
        "look who takes ports between 20000 and 32000 (`ss -ltnp`)",
    ),
    _known(
        "max length over the model's",
        r"User-specified max_model_len \((?P<asked>\d+)\) is greater than the derived max_model_len "
        r"\((?:max_position_embeddings=)?(?P<own>[\d.]+)?",
        "max_model_len = {asked} is more than the model's own maximum ({own})",
        "lower `max_model_len` of {row} in models.toml to {own} or leave it out",
    ),
    _known(
        "max length over the model's (no numbers)",
        r"1 validation error for ModelConfig(?:(?!User-specified)[\s\S]){0,400}?derived_max_model_len",
        "max_model_len is more than the model's own maximum",
        "lower `max_model_len` of {row} in models.toml or leave it out",
    ),
    _known(
        "quantisation that the weights don't have",
        r"Cannot find the config file for (?P<method>[\w-]+)",
        "quantization = {method}, but the weights are not quantised that way (no config file for it)",
        "leave `quantization` out for plain weights, or give weights that were quantised with {method}",
    ),
    _known(
        "another quantisation than the weights have",
        r"Quantization method specified in the model config \((?P<own>[^)]*)\) does not match the "
        r"quantization method specified in the `quantization` argument \((?P<asked>[^)]*)\)",
        "quantization = {asked}, but the weights are quantised with {own}",
        "set `quantization` of {row} to {own}, or leave it out",
    ),
    _known(
        "quantisation unknown to the engine",
        r"Unknown quantization method: (?P<method>[\w'-]+)|quantization\s+Input should be",
        "this engine does not know that quantisation",
        "compare `quantization` of {row} with the engine's list (`--help=ModelConfig`)",
    ),
    _known(
        "quantisation not for this GPU",
        r"The quantization method (?P<method>\S+) is not supported for the current GPU\. "
        r"Minimum capability: (?P<need>\d+)\. Current capability: (?P<own>\d+)",
        "quantisation {method} needs compute capability {need}, this GPU has {own}",
        "run {row} on a newer GPU or choose another quantisation",
    ),
    _known(
        "dtype not for this quantisation",
        r"(?P<dtype>torch\.\w+) is not supported for quantization method (?P<method>\S+?)\. "
        r"Supported dtypes: (?P<own>.+)",
        "dtype {dtype} does not go with quantisation {method}, which takes {own}",
        "set `dtype` of {row} to one of {own}",
    ),
    _known(
        "bfloat16 on an older GPU",
        r"Bfloat16 is only supported on GPUs with compute capability of at least 8\.0\.(?P<own>[^\n]*)",
        "dtype bfloat16 needs compute capability 8.0 or more.{own}",
        'set `dtype = "half"` for {row} on this GPU',
    ),
    _known(
        "GPU memory held by another process",
        r"Free memory on device (?P<device>\S*) ?\((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup "
        r"is less than desired GPU memory utilization \((?P<fraction>[\d.]+), (?P<need>[\d.]+) GiB\)",
        "{device} has {free} GiB free of {total} GiB, {need} GiB are needed (gpu_memory_fraction {fraction})",
        "end the process that holds the memory (`nvidia-smi`), or lower `gpu_memory_fraction` of {row}",
    ),
    _known(
        "host memory too small",
        r"Available memory on node (?P<node>\S+) \((?P<free>[\d.]+)/(?P<total>[\d.]+) GiB\) on startup "
        r"is less than desired CPU memory utilization \((?P<fraction>[\d.]+), (?P<need>[\d.]+) GiB\)",
        "{free} GiB of {total} GiB host memory are free, {need} GiB are needed (fraction {fraction})",
        "lower `gpu_memory_fraction` of {row} (on the CPU engine it is a share of host memory) or set "
        "VLLM_CPU_KVCACHE_SPACE",
    ),
    _known(
        "KV cache smaller than one request",
        r"max seq len \((?P<length>\d+)\), \((?P<need>[\d.]+) GiB KV cache is needed, which is larger than "
        r"the available KV cache memory \((?P<free>[\d.]+) GiB\)"
        r"(?:[\s\S]{0,80}?maximum model length is (?P<fits>\d+))?",
        "a request of max_model_len = {length} needs {need} GiB of KV cache, {free} GiB are available",
        "lower `max_model_len` of {row} (at most {fits} fits), or raise `gpu_memory_fraction`",
    ),
    _known(
        "no memory left for the KV cache",
        r"No available memory for the cache blocks",
        "after the weights no memory is left for the KV cache",
        "raise `gpu_memory_fraction` of {row}, or give it a larger GPU or smaller weights",
    ),
    _known(
        "GPU out of memory",
        r"(?:torch\.(?:cuda\.)?)?OutOfMemoryError|CUDA out of memory|CUDA error: out of memory",
        "the GPU ran out of memory while the server started",
        "lower `gpu_memory_fraction` or `max_model_len` of {row}, or add `--enforce-eager` (no CUDA graphs)",
    ),
    _known(
        "no tokenizer",
        r"Couldn't instantiate the backend tokenizer from one of",
        "the weights directory holds no tokenizer that can be loaded",
        "put the model's tokenizer.json (and tokenizer_config.json) beside the weights",
    ),
    _known(
        "no weights",
        r"Cannot find any model weights with `(?P<path>[^`]*)`",
        "{path} holds no model weights",
        "put the *.safetensors files there, or start with `--load-format dummy` where answers don't matter",
    ),
    _known(
        "weights file incomplete",
        r"SafetensorError: .*(?:Incomplete|InvalidHeader|TooLarge|TooSmall|incomplete|header)[^\n]*",
        "a weights file is cut short or is not a safetensors file",
        "fetch it again; a Git LFS pointer in place of the file looks like that too",
    ),
    _known(
        "architecture unknown to the engine",
        r"Model architectures (?P<names>\[[^\]]*\]) are not supported for now",
        "this engine does not know the architecture {names}",
        "use a newer engine through `engine_python` of {row}",
    ),
    _known(
        "architecture unknown to transformers",
        r"has model type `(?P<name>[^`]*)` but Transformers does not recognize this architecture",
        "the installed transformers does not know model type {name}",
        "upgrade transformers in the engine's environment, or correct config.json",
    ),
    _known(
        "architecture does not load",
        r"Could not import module '(?P<name>\w+)'|operator torchvision::\w+ does not exist",
        "a module that the model needs can't be imported; most often torchvision doesn't match torch",
        "in the engine's environment: `pip uninstall -y torchvision torchaudio torchcodec` (text needs none)",
    ),
    _known(
        "custom code not allowed",
        r"contains custom code which must be executed|setting `trust_remote_code=True`",
        "the model brings Python code of its own, which is not run unless the row allows it",
        "read that code, then set `trust_remote_code = true` for {row}",
    ),
    _known(
        "attention shape not for this device",
        r"Unsupported CPU attention configuration: (?P<what>[^\n]*)",
        "the engine's CPU kernels don't support this model's attention ({what})",
        "serve it on a GPU; head_dim must be one that the CPU build has kernels for (32, 64, 128, …)",
    ),
    _known(
        "heads not divisible",
        r"Total number of attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size "
        r"\((?P<size>\d+)\)",
        "{heads} attention heads can't be divided over {size} GPUs",
        "choose a tensor-parallel size that divides {heads}",
    ),
    _known(
        "unknown engine argument",
        r"error: unrecognized arguments: (?P<what>[^\n]*)",
        "this engine does not know the argument {what}",
        "correct `arguments` of {row} in models.toml",
    ),
    _known(
        "bad engine argument",
        r"api_server(?:\.py)?: error: (?!unrecognized)(?P<what>[^\n]*)",
        "the engine refuses its arguments: {what}",
        "correct `arguments` of {row} in models.toml",
    ),
    _known(
        "no device",
        r"Failed to infer device type|No CUDA GPUs are available|Torch not compiled with CUDA enabled",
        "the engine finds no GPU that it can use",
        "check `nvidia-smi` and CUDA_VISIBLE_DEVICES; on a machine without a GPU use the CPU engine "
        "(`python -m pytest_llmperf.serving.cpu_engine`)",
    ),
    _known(
        "driver too old",
        r"The NVIDIA driver on your system is too old[^\n]*|CUDA driver version is insufficient",
        "the NVIDIA driver is too old for the CUDA that the engine was built with",
        "update the driver, or install an engine built for an older CUDA",
    ),
    _known(
        "engine not installed",
        r"No module named '?vllm|Error while finding module specification for 'vllm",
        "the interpreter that should run the engine has no vLLM",
        "install it there (pip install 'pytest-llmperf[vllm]', or on a machine without a GPU "
        "python -m pytest_llmperf.serving.cpu_engine), or set `engine_python` of {row}",
    ),
    _known(
        "transformers' own needs",
        r"requires `accelerate`|Missing dependencies for serving",
        "the interpreter has transformers, and not what its server needs",
        "install it there: pip install 'transformers[serving]' accelerate",
    ),
    _known(
        "missing module",
        r"ModuleNotFoundError: No module named '(?P<module>[^']*)'",
        "the engine's environment has no Python module {module}",
        "install {module} there",
    ),
    _known(
        "missing library",
        r"(?:ImportError|OSError): (?P<library>lib[\w.+-]+): cannot open shared object file",
        "the engine's environment has no shared library {library}",
        "install the package that brings {library}, or add its directory to LD_LIBRARY_PATH",
    ),
    _known(
        "interpreter missing",
        r"^cannot execute (?P<program>.*): (?P<why>.*)$",
        "the engine's interpreter {program} can't be executed: {why}",
        "correct `engine_python` of {row} in models.toml",
    ),
    _known(
        "disk full",
        r"\[Errno 28\] No space left on device",
        "the disk is full",
        "free some space where the weights, the compile cache and the logs lie",
    ),
    _known(
        "too many open files",
        r"^OSError: \[Errno 24\] Too many open files",
        "the engine ran out of file descriptors",
        "raise the limit: `ulimit -n 65536`",
    ),
)

# True, but only what follows from something else; used when nothing above is found.
CONSEQUENCES: tuple[KnownFailure, ...] = (
    _known(
        "engine core died",
        r"Engine core initialization failed|EngineDeadError|EngineCore encountered an issue|Failed core proc|"
        r"EngineCore failed to start|Engine core proc \S+ died|WorkerProc initialization failed|"
        r"AsyncLLM output_handler failed",
        "the engine's core process died; its log doesn't say why",
        "read the whole log; who ends without a word was often killed for want of memory (`dmesg`)",
    ),
)

# Lines that contain the word of an error and are none.
NOISE: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern)
    for pattern in (
        r"Found ulimit of",
        r"Triton is (?:not installed|installed, but)",
        r"lib(?:tcmalloc|iomp)\S* is not found",
        r"^nanobind: ",
        r"^ - (?:leaked|\.\.\.)",
        r"resource_tracker",
        r"leaked \w+ objects",
        r"DeprecationWarning|FutureWarning|UserWarning",
        r"^\s*warnings\.warn\(",
        r"Dumping (?:input data|scheduler)",
    )
)
