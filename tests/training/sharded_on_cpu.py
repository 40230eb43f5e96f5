"""`pixeltune` where accelerate shards models on CPUs too, for tests: ``sharded_on_cpu.py sft ...``.

accelerate 1.15 turns FSDP on only for processes with devices of their own, though `fully_shard`, which it calls then,
works with gloo. All else is accelerate's (`AcceleratorState.__init__`,
https://github.com/huggingface/accelerate/blob/v1.15.0/src/accelerate/state.py).
"""

from __future__ import annotations

import sys
from typing import Any

from pixeltune.cli.main import main


def shard_on_cpu() -> None:
    """From now on CPU processes that were started with ``--use_fsdp`` shard."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    plain = AcceleratorState.__init__

    def init(self: Any, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        plain(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU and fsdp_plugin is not None:
            self.fsdp_plugin, self.distributed_type = fsdp_plugin, DistributedType.FSDP
            PartialState._shared_state["distributed_type"] = self.distributed_type

    AcceleratorState.__init__ = init


if __name__ == "__main__":
    shard_on_cpu()
    sys.exit(main(sys.argv[1:]))
