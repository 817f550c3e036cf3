"""A run whose shards are tasks of a Ray cluster: ``pytest-llmperf fleet run fleet.toml``.

::

    config.fleet_file ── what to run, and what each shard needs
    working_tree ── the files that the nodes get
    driver ── submits, follows and collects the shards        (on the machine of the command; the only user of Ray)
      └─ shard_run ── one shard                               (on a node, in a process of Ray)
           ├─ bound_process ── becomes pytest, and ends with the process above
           └─ shard_plugin ── tells the phase, inside that pytest

A shard is a run of pytest with ``--llmperf-shard``; the records are judged together as ``pytest-llmperf merge`` does.
Ray is imported in functions of ``driver`` alone.
"""
