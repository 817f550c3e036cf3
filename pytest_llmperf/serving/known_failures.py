"""Reasons of failed starts that all engines share: the machine, the driver, CUDA, torch, the hub, the weights' files.

Every pattern was seen in a real log or stands word for word in the source of vLLM, transformers, torch or
huggingface_hub. The rows of `KNOWN` are tried on one error at a time, in this order: the special before the general,
and an engine's own (``Engine.known_failures``) before all of them.
"""

from __future__ import annotations

import re
import signal

from pytest_llmperf.engines.base import KnownFailure, known_failure

_SHARED_MEMORY_REMEDY = (
    "give the container more shared memory (`--shm-size=16g` or `--ipc=host`; in Kubernetes an emptyDir of medium "
    "Memory at /dev/shm), and look at what fills it (`df -h /dev/shm`)"
)
_VERSION_MISMATCH = r"(?i)NVML/RM version mismatch|LibRmVersionMismatch|Driver/library version mismatch"
_INSTRUCTIONS_REMEDY = (
    "see which of avx2, avx512f, amx the processor has (`lscpu`); install an engine built for it"
)


KNOWN: tuple[KnownFailure, ...] = (
    known_failure(
        "driver and library differ",
        _VERSION_MISMATCH,
        "the NVIDIA driver that is loaded and the NVIDIA libraries that are installed differ in version",
        "reboot, or unload and load the kernel modules; in a container, restart it after the host's driver was updated",
    ),
    known_failure(
        "no device: driver and library differ",
        r"Failed to infer device type|No CUDA GPUs are available|[Nn]o CUDA runtime is found|device_count\(\) == 0",
        "the NVIDIA driver that is loaded and the NVIDIA libraries that "
        "are installed differ in version, so that no GPU "
        "can be used",
        "reboot, or unload and load the kernel modules; in a container, restart it after the host's driver was updated",
        log=_VERSION_MISMATCH,
    ),
    known_failure(
        "shared memory full",
        r"\[Errno 28\] No space left on device",
        "the shared memory (/dev/shm) is full or too small for the engine's processes",
        _SHARED_MEMORY_REMEDY,
        frames=r"shm_broadcast|shared_memory|/dev/shm|_posixshmem|shm_object_storage",
    ),
    known_failure(
        "shared memory full (told in the line)",
        r"(?:shm_broadcast|shared_memory|/dev/shm|psm_\w+|shm_open).*No space left on device|"
        r"No space left on device.*(?:/dev/shm|psm_|shm)|unable to (?:open|allocate|write to) shared memory|"
        r"insufficient shared memory|[Ee]rror while creating shared memory segment",
        "the shared memory (/dev/shm) is full or too small for the engine's processes",
        _SHARED_MEMORY_REMEDY,
    ),
    known_failure(
        "bus error",
        r"Fatal Python error: Bus error|[Bb]us error|SIGBUS",
        "bus error: most often the shared memory (/dev/shm) is too small, else a file that was mapped became shorter",
        _SHARED_MEMORY_REMEDY,
    ),
    known_failure(
        "illegal instruction",
        r"Fatal Python error: Illegal instruction|[Ii]llegal instruction|SIGILL",
        "the engine or a library uses instructions that this processor does not have (AVX2, AVX-512, AMX)",
        _INSTRUCTIONS_REMEDY,
    ),
    known_failure(
        "hub rate limit",
        r"(?:429 (?:Client Error|Too Many Requests)|Too Many Requests)",
        "the Hugging Face hub refuses further requests for now (HTTP 429, rate limit)",
        "log in (`hf auth login`, or set HF_TOKEN) for a higher limit, or fill the cache beforehand with `hf download`",
    ),
    known_failure(
        "hub server error",
        r"(?:HfHubHTTPError|HTTPError|HTTPStatusError)[^\n]*\b(?P<code>50[0-9]) Server Error",
        "the Hugging Face hub answered with an error of its own (HTTP {code})",
        "try again later, or fill the cache beforehand with `hf download`",
    ),
    known_failure(
        "weights directory missing",
        r"HFValidationError: Repo id must be in the form .*?: '(?P<path>[^']*)'",
        "the weights directory {path} does not exist",
        "correct `weights` of {row} in models.toml: a directory that exists, or a hub id such as org/name",
    ),
    known_failure(
        "weights absent and offline",
        r"outgoing traffic has been disabled|OfflineModeIsEnabled|offline mode is enabled",
        "the weights are not in the local Hugging Face cache and the hub may not be asked (offline)",
        "fetch them first with `hf download`, or unset HF_HUB_OFFLINE",
    ),
    known_failure(
        "gated repository",
        r"GatedRepoError|Cannot access gated repo|You are trying to access "
        r"a gated repo|is restricted and you are not in",
        "the weights lie in a gated repository of the Hugging Face hub",
        "accept its licence on the model's page, then log in with `hf auth login` or set HF_TOKEN",
    ),
    known_failure(
        "repository or revision unknown",
        r"RepositoryNotFoundError|RevisionNotFoundError|"
        r"is not a local folder and is not a valid model identifier",
        "the Hugging Face hub has no such repository or revision (or it is private)",
        "correct `weights` and `revision` of {row} in models.toml; for a private one set HF_TOKEN",
    ),
    known_failure(
        "hub name not resolved",
        r"(?:NameResolutionError|[Nn]ame or service not known|Temporary "
        r"failure in name resolution|nodename nor servname)"
        r"(?![^\n]*localhost)",
        "a name of the network can't be resolved (no network, or no DNS), and files are not in the local cache",
        "fetch the weights where the network allows it (`hf download`), give a directory as `weights`, or set "
        "HF_HUB_OFFLINE=1 when everything is in the cache",
    ),
    known_failure(
        "hub certificate refused",
        r"CERTIFICATE_VERIFY_FAILED|SSLCertVerificationError",
        "the certificate of the hub, or of a proxy before it, is not trusted here",
        "set REQUESTS_CA_BUNDLE and SSL_CERT_FILE to your organisation's certificates, or fetch the weights elsewhere",
    ),
    known_failure(
        "port taken",
        r"\[Errno 98\] (?:error while attempting to bind on address .*)?[Aa]ddress already in use",
        "the port was taken by another process between its choice and its use, several times",
        "look who takes ports between 20000 and 32000 (`ss -ltnp`)",
    ),
    known_failure(
        "GPU out of memory",
        r"(?:torch\.(?:cuda\.)?)?OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|"
        r"CUDA driver error: out of memory|cudaErrorMemoryAllocation|HIP out of memory",
        "the GPU ran out of memory while the server started",
        "lower `gpu_memory_fraction` or `max_model_len` of {row}, or add `--enforce-eager` (no CUDA graphs)",
    ),
    known_failure(
        "weights file without a header",
        r"^(?:(?:\w+\.)*(?:MemoryError|JSONDecodeError|UnicodeDecodeError)|struct\.error)\b",
        "a weights file is cut short or is not a safetensors file (its header can't be read)",
        "fetch it again; a Git LFS pointer in place of the file looks like that too",
        frames=r"safetensors",
    ),
    known_failure(
        "host memory exhausted",
        r"^(?:\w+\.)*MemoryError\b|DefaultCPUAllocator: (?:can't|not enough) (?:allocate )?memory|std::bad_alloc|"
        r"\[Errno 12\] Cannot allocate memory|[Cc]annot allocate memory",
        "the host ran out of memory, or a header asks for an absurd amount (a weights file that is none)",
        "free host memory, make {row} smaller, or look at the weights files: `head -c 200` shows a pointer or a page",
    ),
    known_failure(
        "tokenizer file newer than the library",
        r"data did not match any variant of untagged enum (?P<what>\w+)",
        "tokenizer.json can't be read by the installed `tokenizers` (it was written by a newer one, or is damaged)",
        "upgrade `tokenizers` and `transformers` in the engine's environment, or fetch tokenizer.json again",
    ),
    known_failure(
        "tokenizer class unknown",
        r"Tokenizer class (?P<name>\w+) does not exist or is not currently imported",
        "the installed transformers has no tokenizer class {name}, which tokenizer_config.json names",
        "upgrade transformers in the engine's environment, correct "
        "`tokenizer_class`, or set `trust_remote_code = true` "
        "for {row} if the model brings that class itself",
    ),
    known_failure(
        "tokenizer of another class",
        r"The tokenizer class you load from this checkpoint is not the same type as the class this function is called "
        r"from|Can't load tokenizer for '(?P<path>[^']*)'",
        "the tokenizer beside the weights can't be loaded as the kind that the configuration names",
        "take tokenizer files and tokenizer_config.json from the same repository as the weights",
    ),
    known_failure(
        "no chat template",
        r"default chat template is no longer allowed|does not have a (?:default )?chat template|"
        r"[Cc]hat template (?:file )?(?P<path>\S+) (?:does not exist|not found)|"
        r"The supplied chat template .* appears path-like, but doesn't exist",
        "there is no chat template: neither the tokenizer has one nor was one given that exists",
        "give {row} `--chat-template FILE` in `arguments`, or put chat_template.jinja beside the weights",
    ),
    known_failure(
        "chat template has an error",
        r"jinja2\.exceptions\.(?P<kind>\w+): (?P<what>[^\n]*)",
        "the chat template has an error: {what}",
        "correct the template (`--chat-template`, chat_template.jinja or tokenizer_config.json)",
    ),
    known_failure(
        "no tokenizer",
        r"Couldn't instantiate the backend tokenizer from one of",
        "the weights directory holds no tokenizer that can be loaded",
        "put the model's tokenizer.json (and tokenizer_config.json) beside the weights",
    ),
    known_failure(
        "weights file incomplete",
        r"SafetensorError: .*(?:Incomplete|InvalidHeader|TooLarge|TooSmall|incomplete|header)[^\n]*|"
        r"HeaderTooLarge|HeaderTooSmall|MetadataIncompleteBuffer|InvalidHeaderDeserialization",
        "a weights file is cut short or is not a safetensors file",
        "fetch it again; a Git LFS pointer in place of the file looks like that too",
    ),
    known_failure(
        "weights file of pickle unreadable",
        r"UnpicklingError: (?P<what>[^\n]*)|PytorchStreamReader failed (?P<why>[^\n]*)",
        "a weights file (*.bin, *.pt) can't be read: it is damaged, a Git LFS pointer or a web page",
        "fetch it again: `head -c 200` shows a pointer or a page",
    ),
    known_failure(
        "config.json is no JSON",
        r"It looks like the config file at '(?P<path>[^']*)' is not (?:a )?valid JSON",
        "{path} is no JSON",
        "fetch config.json again: a Git LFS pointer or a web page looks like that",
    ),
    known_failure(
        "config.json without a model type",
        r"Unrecognized model in (?P<path>\S+)\. Should have a `model_type` key",
        "config.json of {path} names no `model_type`",
        "fetch config.json of the model again; a LoRA adapter is given as an adapter beside its base model",
    ),
    known_failure(
        "weights of another architecture",
        r"^KeyError: '(?P<name>[\w.]*(?:layers|blocks|h|transformer|model|lm_head|embed)[\w.]*\.(?:weight|bias|"
        r"weight_scale|weight_scale_inv|qweight|scales|\w*proj\w*)[\w.]*)'",
        "the weights hold a tensor that the architecture in config.json has no place for: {name}",
        "take config.json and weights of the same repository; a newer "
        "architecture needs a newer engine, and an adapter "
        "or a quantised copy its own arguments",
    ),
    known_failure(
        "weights of another shape",
        r"The size of tensor a \((?P<a>\d+)\) must match the size of tensor b \((?P<b>\d+)\)|"
        r"[Aa]ttempted to load weight \((?P<weight>[^\n]*?)\) into parameter|size mismatch for (?P<mismatch>[^\n]*)",
        "a tensor of the weights has another shape than config.json says",
        "take config.json and weights of the same repository (vocab_size, hidden_size, num_key_value_heads)",
        frames=r"load_weights|weight_loader|load_state_dict|loader",
    ),
    known_failure(
        "weights of another shape (assertion)",
        r"^AssertionError(?::|$)",
        "a tensor of the weights has another shape than config.json or the tensor-parallel size allow",
        "take config.json and weights of the same repository, and a tensor-parallel size that divides its heads",
        frames=r"assert (?:param\w*\.size\(\)|param\w*\.(?:data\.)?shape|"
        r"loaded_weight\.(?:shape|size)|self\.\w+ % tp_size)",
    ),
    known_failure(
        "architecture unknown to transformers",
        r"has model type `(?P<name>[^`]*)` but Transformers does not recognize this architecture",
        "the installed transformers does not know model type {name}",
        "upgrade transformers in the engine's environment, or correct config.json",
    ),
    known_failure(
        "architecture does not load",
        r"Could not import module '(?P<name>\w+)'|operator torchvision::\w+ does not exist",
        "a module that the model needs can't be imported; most often torchvision doesn't match torch",
        "in the engine's environment: `pip uninstall -y torchvision torchaudio torchcodec` (text needs none)",
    ),
    known_failure(
        "custom code not allowed",
        r"contains custom code which must be executed|setting `trust_remote_code=True`",
        "the model brings Python code of its own, which is not run unless the row allows it",
        "read that code, then set `trust_remote_code = true` for {row}",
    ),
    known_failure(
        "vocabulary not divisible",
        r"(?P<what>\d+ is not divisible by \d+)",
        "a size of the model can't be divided over that many GPUs ({what})",
        "choose another tensor-parallel size for {row}",
        frames=r"divide|ensure_divisibility|tp_size|tensor_model_parallel|parallel_state|linear\.py",
    ),
    known_failure(
        "unknown engine argument",
        r"error: unrecognized arguments: (?P<what>[^\n]*)",
        "this engine does not know the argument {what}",
        "correct `arguments` of {row} in models.toml",
    ),
    known_failure(
        "driver libraries not visible",
        r"libcuda\.so(?:\.1)?: cannot open shared object file|NVML Shared Library Not Found|"
        r"Found no NVIDIA driver on your system",
        "no NVIDIA driver is visible to the engine",
        "install the driver; in a container, start it with `--gpus all` (NVIDIA Container Toolkit)",
    ),
    known_failure(
        "no device: no driver",
        r"Failed to infer device type|No CUDA GPUs are available",
        "no NVIDIA driver is visible to the engine, so it finds no GPU",
        "install the driver, or in a container start it with `--gpus all`; "
        "on a machine without a GPU use the CPU engine "
        "(`python -m pytest_llmperf.engines.vllm_cpu`)",
        log=r"libcuda\.so(?:\.1)?: cannot open|NVML Shared Library Not Found|Found no NVIDIA driver",
    ),
    known_failure(
        "CUDA device number invalid",
        r"CUDA error: invalid device ordinal|Invalid device id|invalid device ordinal",
        "the engine asks for a GPU number that is not visible",
        "compare CUDA_VISIBLE_DEVICES with `nvidia-smi -L`, and the GPUs of {row} with both",
    ),
    known_failure(
        "GPU busy or held exclusively",
        r"CUDA-capable device\(s\) is/are busy or unavailable|cudaErrorDevicesUnavailable",
        "the GPU is held exclusively by another process, or is not usable",
        "end what holds it (`nvidia-smi`), or set its compute mode to Default",
    ),
    known_failure(
        "GPU fabric not ready",
        r"system not yet initialized|cudaErrorSystemNotReady|Error 802",
        "the GPUs' fabric is not initialised (CUDA error 802)",
        "start nvidia-fabricmanager of the driver's own version",
    ),
    known_failure(
        "GPU fell off",
        r"CUDA error: (?P<what>unspecified launch failure|uncorrectable \w+ "
        r"error encountered|an illegal memory access was "
        r"encountered|device-side assert triggered|misaligned address)|Unable to determine the device handle for GPU|"
        r"GPU is lost|fallen off the bus",
        "the GPU reported an error of its own or of a kernel: {what}",
        "look for Xid messages (`dmesg | grep -i xid`); if there are none, "
        "try `--enforce-eager` or another engine version",
    ),
    known_failure(
        "no kernels for this GPU",
        r"no kernel image is available for execution on the device|cudaErrorNoKernelImageForDevice|"
        r"is not compatible with the current PyTorch installation",
        "this build has no kernels for this GPU's compute capability",
        "install an engine (and torch) built for it: a newer one for a new GPU, an older one for an old GPU",
    ),
    known_failure(
        "driver older than the toolkit",
        r"provided PTX was compiled with an unsupported toolchain|forward "
        r"compatibility was attempted on non supported HW|"
        r"cudaErrorUnsupportedPtxVersion",
        "the NVIDIA driver is older than the CUDA toolkit that the engine's kernels were built with",
        "update the driver, or install an engine built for an older CUDA",
    ),
    known_failure(
        "CUDA in a forked process",
        r"Cannot re-initialize CUDA in forked subprocess",
        "CUDA was initialised before the engine forked its processes",
        "set VLLM_WORKER_MULTIPROC_METHOD=spawn in the environment of "
        "{row}, and look for a plugin that touches the GPU",
    ),
    known_failure(
        "network interface not found",
        r"Unable to find address for: (?P<name>\S+)|Bootstrap : no socket interface found|no socket interface found",
        "the interface that NCCL or Gloo should use does not exist here",
        "unset or correct NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME (`ip link` lists them)",
    ),
    known_failure(
        "NCCL error",
        r"NCCL (?:E|e)rror(?: in)?:? (?P<what>[^\n(,]*)|ncclUnhandledCudaError|ncclSystemError|ncclInternalError",
        "the GPUs can't talk to each other through NCCL ({what})",
        "set NCCL_DEBUG=WARN in the environment of {row} and read the lines with «NCCL WARN»; common reasons are too "
        "little /dev/shm and blocked peer-to-peer access (try NCCL_P2P_DISABLE=1)",
    ),
    known_failure(
        "rendezvous timed out",
        r"(?:DistStoreError|DistNetworkError|TimeoutError): [^\n]*(?:Timed "
        r"out after|timed out|client socket has timed out)"
        r"[^\n]*",
        "the engine's processes did not find each other in time",
        "look whether a worker ended earlier in the log, and whether a proxy or firewall is between the addresses",
        frames=r"torch/distributed|rendezvous|parallel_state|init_process_group",
    ),
    known_failure(
        "no device",
        r"Failed to infer device type|No CUDA GPUs are available|Torch not compiled with CUDA enabled",
        "the engine finds no GPU that it can use",
        "check `nvidia-smi` and CUDA_VISIBLE_DEVICES; on a machine without a GPU use the CPU engine "
        "(`python -m pytest_llmperf.engines.vllm_cpu`)",
    ),
    known_failure(
        "driver too old",
        r"The NVIDIA driver on your system is too old[^\n]*|CUDA driver version is insufficient",
        "the NVIDIA driver is too old for the CUDA that the engine was built with",
        "update the driver, or install an engine built for an older CUDA",
    ),
    known_failure(
        "torch without the operator",
        r"operator (?P<name>(?!torchvision)\w+::\w+) does not exist|"
        r"'_OpNamespace' '(?P<space>\w+)' object has no attribute "
        r"'(?P<attribute>\w+)'",
        "an extension of the engine is not loaded or does not match torch: the operator is missing",
        "reinstall engine and torch together in one command (`pip install --force-reinstall vllm`)",
    ),
    known_failure(
        "extension does not match torch",
        r"(?:ImportError: )?(?P<library>[^\s:]+\.so[\w.]*): undefined symbol: (?P<symbol>\w+)",
        "{library} was built for another version of torch or CUDA (undefined symbol)",
        "reinstall engine and torch together in one command (`pip install --force-reinstall vllm`), into an empty "
        "environment if it stays",
    ),
    known_failure(
        "system library too old",
        r"(?P<library>[\w./+-]+): version [`'](?P<version>(?:GLIBC|GLIBCXX|CXXABI)_[\d.]+)' not found",
        "the system's {library} is too old: {version} is needed",
        "use a newer distribution or container image, or an engine built for this one (libstdc++ comes with conda too)",
    ),
    known_failure(
        "name missing in a module",
        r"ImportError: cannot import name '(?P<name>\w+)' from (?:partially initialized module )?'(?P<module>[\w.]+)'",
        "{module} has no `{name}`: its version does not go with the engine's",
        "install the version that the engine asks for (`pip check` in its environment)",
    ),
    known_failure(
        "missing module",
        r"ModuleNotFoundError: No module named '(?P<module>[^']*)'",
        "the engine's environment has no Python module {module}",
        "install {module} there",
    ),
    known_failure(
        "missing library",
        r"(?:ImportError|OSError|error while loading shared libraries): (?P<library>lib[\w.+-]+): cannot open "
        r"shared object file",
        "the engine's environment has no shared library {library}",
        "install the package that brings {library}, or add its directory to LD_LIBRARY_PATH",
    ),
    known_failure(
        "interpreter missing",
        r"^cannot execute (?P<program>.*): (?P<why>.*)$",
        "the engine's interpreter {program} can't be executed: {why}",
        "correct `engine_python` of {row} in models.toml",
    ),
    known_failure(
        "no C compiler",
        r"Failed to find C compiler|InvalidCxxCompiler|No working C\+\+ compiler found|gcc: command not found|"
        r"\[Errno 2\] No such file or directory: '(?P<program>gcc|cc|g\+\+|clang|c\+\+)'",
        "kernels have to be compiled at the start, and there is no C compiler",
        "install gcc and g++ (and the headers of Python), set CC, or add `--enforce-eager` to `arguments` of {row}",
    ),
    known_failure(
        "Python's headers missing",
        r"Python\.h: No such file or directory",
        "kernels have to be compiled at the start, and the headers of Python are missing",
        "install them (python3-dev), or use an interpreter that has them",
    ),
    known_failure(
        "no CUDA compiler",
        r"nvcc: (?:command )?not found|Could not find nvcc|CUDA_HOME environment variable is not set|"
        r"No such file or directory: '[^']*nvcc'|Ninja is required to load C\+\+ extensions|No such file or "
        r"directory: 'ninja'",
        "kernels have to be compiled at the start, and nvcc or ninja is missing",
        "install the CUDA toolkit and ninja and set CUDA_HOME, or set VLLM_USE_FLASHINFER_SAMPLER=0 for {row}",
    ),
    known_failure(
        "kernel build failed",
        r"Ninja build failed|Error building extension '(?P<name>[^']*)'|ninja: build stopped|PTXASError|"
        r"Command '[^\n]*\b(?:gcc|g\+\+|cc|clang|nvcc|ptxas|ninja)\b[^\n]*returned non-zero exit status",
        "kernels that are compiled at the start did not compile",
        "read the compiler's lines in the log; toolkit and torch must be of one CUDA version",
    ),
    known_failure(
        "user id without a name",
        r"getpwuid\(\): uid not found: (?P<uid>\d+)",
        "the user id {uid} has no entry in the password database",
        "set HOME, USER and LOGNAME in the environment of {row}, and TORCHINDUCTOR_CACHE_DIR to a directory",
    ),
    known_failure(
        "quota exceeded",
        r"\[Errno 122\] Disk quota exceeded(?:: '(?P<path>[^']*)')?",
        "the disk quota is used up ({path})",
        "free some space, or set HF_HOME and VLLM_CACHE_ROOT to another file system",
    ),
    known_failure(
        "read-only or forbidden path",
        r"(?:PermissionError: \[Errno 13\] Permission denied|OSError: \[Errno 30\] Read-only file system): "
        r"'(?P<path>[^']*)'",
        "the engine may not read or write {path}",
        "correct its owner or mode; caches go elsewhere with HF_HOME, VLLM_CACHE_ROOT, TRITON_CACHE_DIR and "
        "TORCHINDUCTOR_CACHE_DIR",
    ),
    known_failure(
        "file corrupt on disk",
        r"\[Errno 5\] Input/output error(?:: '(?P<path>[^']*)')?|\[Errno 116\] Stale file handle",
        "a file can't be read from its disk or network file system ({path})",
        "look at `dmesg`, and copy the weights to a local disk",
    ),
    known_failure(
        "disk full",
        r"\[Errno 28\] No space left on device|No space left on device",
        "the disk is full",
        "free some space where the weights, the compile cache and the logs lie",
    ),
    known_failure(
        "too many open files",
        r"\[Errno 24\] Too many open files|Too many open files",
        "the engine ran out of file descriptors",
        "raise the limit: `ulimit -n 65536`",
    ),
    known_failure(
        "too many processes",
        r"can't start new thread|\[Errno 11\] Resource temporarily unavailable|OpenBLAS blas_thread_init: "
        r"pthread_create "
        r"failed|libgomp: Thread creation failed",
        "the engine could not start another thread or process",
        "raise the limits (`ulimit -u`, pids of the container), and set OMP_NUM_THREADS to the number of cores",
    ),
)

# Tried on an error when no row of `KNOWN` fits any exception of its chain.
GENERAL: tuple[KnownFailure, ...] = (
    known_failure(
        "hub token refused",
        r"401 (?:Client Error|Unauthorized).*|Invalid (?:user )?(?:token|credentials)|Invalid username or password",
        "the Hugging Face hub refuses the token, or wants one (HTTP 401)",
        "set a valid HF_TOKEN or run `hf auth login`; a misspelt name of a repository looks like that too",
        log=r"hugging ?face|hf\.co|HfHub|hf_hub|HF_TOKEN|(?i:repository)",
    ),
    known_failure(
        "weights absent and the hub failed",
        r"LocalEntryNotFoundError|Cannot find an appropriate cached snapshot folder",
        "the weights are not in the local Hugging Face cache, and asking the hub for them failed",
        "fetch them first with `hf download`, which says why the hub can't be asked",
    ),
    known_failure(
        "hub unreachable",
        r"We couldn't connect to '(?P<endpoint>[^']*)'",
        "the Hugging Face hub ({endpoint}) can't be reached and the files are not in the local cache",
        "fetch the weights where the network allows it (`hf download`), or give a directory as `weights`",
    ),
    known_failure(
        "settings refused",
        r"validation errors? for (?P<what>\w+)\s+(?P<why>[^\n]+?(?:\n  [^\n]+?)?)(?: \[type=|\n\s*For further|\n?\Z)",
        "the engine refuses its settings ({what}): {why}",
        "correct `arguments` of {row} in models.toml",
    ),
    known_failure(
        "crash of native code",
        r"Fatal Python error: (?P<what>Segmentation fault|Aborted|Floating[- ]point exception)|"
        r"(?P<segfault>[Ss]egmentation "
        r"fault|Segfault encountered)|\*\*\* (?P<signal>SIG[A-Z]+) ",
        "the engine's compiled code crashed",
        "read the stack above the end of the log; try `--enforce-eager`, and reinstall engine and torch together",
    ),
)

# What is said of a signal that ended a process without a word in the log.
SIGNALS: dict[int, tuple[str, str]] = {
    signal.SIGKILL: (
        "the kernel's OOM killer, a limit of the container, or a `kill -9`; the log doesn't say which",
        (
            "look at `dmesg` and the container's events; if memory was short, make {row} smaller (`max_model_len`, "
            "VLLM_CPU_KVCACHE_SPACE) or run fewer servers"
        ),
    ),
    signal.SIGBUS: (
        "a bus error; most often the shared memory (/dev/shm) is too small, else a file that was mapped became shorter",
        _SHARED_MEMORY_REMEDY,
    ),
    signal.SIGILL: (
        "it uses instructions that this processor does not have (AVX2, AVX-512, AMX)",
        _INSTRUCTIONS_REMEDY,
    ),
    signal.SIGSEGV: (
        "its compiled code crashed (segmentation fault)",
        (
            "set PYTHONFAULTHANDLER=1 in the environment of {row} to see "
            "where; try `--enforce-eager`, and reinstall engine "
            "and torch together"
        ),
    ),
    signal.SIGABRT: (
        "its compiled code gave up (abort)",
        "read the last lines of the log; set PYTHONFAULTHANDLER=1 in the environment of {row} to see where",
    ),
    signal.SIGFPE: (
        "its compiled code divided by zero",
        "set PYTHONFAULTHANDLER=1 in the environment of {row} to see where",
    ),
    signal.SIGTERM: (
        "it was told to end: a job's time limit, a supervisor, or `kill`",
        "look at the scheduler's or the container's events",
    ),
    signal.SIGXCPU: ("the limit of processor time is used up", "raise it (`ulimit -t`)"),
}

# True, but only what follows from something else; used when nothing above is found.
CONSEQUENCES: tuple[KnownFailure, ...] = (
    known_failure(
        "engine core died",
        r"Engine core initialization failed|EngineDeadError|EngineCore encountered an issue|Failed core proc|"
        r"EngineCore failed to start|Engine core proc \S+ died|WorkerProc initialization failed|"
        r"AsyncLLM output_handler failed|Frontend process failed during engine core|EngineCore encountered a fatal|"
        r"EngineCore hit an exception|WorkerProc (?:failed to start|hit an exception)|[Ww]orker proc \S+ died|"
        r"RayWorkerProc rank=\S+ died|Engine process failed to start|Engine loop is (?:dead|not running)|"
        r"Error executing method |Exception in worker |^Process (?:EngineCore\S*|VllmWorker\S*|SpawnProcess\S*):$|"
        r"Worker failed with error",
        "the engine's core process died; its log doesn't say why",
        "read the whole log; a process that ends without a word was often killed for want of memory (`dmesg`)",
    ),
    known_failure(
        "aftermath",
        r"^(?P<what>[^\n]*(?:Connection closed by peer|Connection reset by peer|failed to recv, got 0 bytes|"
        r"recvValue failed|remote process exited or there was a network error|The actor died|died unexpectedly|"
        r"died with exit code|destroy_process_group|failed to be inspected|[Cc]heck the logs? for more details|"
        r"[Ss]ee (?:the )?(?:stack trace|root cause|logs?|error|output)(?: \(?above\)?| for)|sub-exceptions?\))[^\n]*|"
        r"Process \S+:$|(?:EOFError|BrokenPipeError|ConnectionResetError|KeyboardInterrupt|SystemExit)\b[^\n]*|"
        r"(?:[\w.]*\.)?(?:CancelledError|ActorDiedError|RayTaskError|ProcessRaisedException|ZMQError)\b[^\n]*|"
        r"Application startup failed[^\n]*|exit code[^\n]*)",
        "{what} (this follows from something else, and the log names nothing else)",
        "read the whole log; a process that ends without a word was often killed for want of memory (`dmesg`)",
    ),
)

# Lines that contain the word of an error and are none.
NOISE = re.compile(
    "|".join(
        (
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
            r"^Thread 0x[0-9a-f]+ |^Current thread 0x",
            r"AttributeError: '\w*Executor\w*' object has no attribute '(?:workers|shutdown_event|rpc_broadcast_mq)'",
        )
    )
)
