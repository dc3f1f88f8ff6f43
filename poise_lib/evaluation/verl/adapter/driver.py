"""The process that starts VeRL: composes its configuration, runs it to its end, and tells in one line what failed.

python -m poise_lib.evaluation.verl.adapter.driver OVERRIDE...

Takes the overrides that ``python -m verl.trainer.main_ppo`` takes.  The environment names the candidate
(:data:`~poise_lib.evaluation.verl.adapter.spec.SPEC_VARIABLE`) and, where wanted, a file for the account of a failure
(:data:`FAILURE_VARIABLE`): JSON with ``kind`` ("candidate", "settings" or "engine") and ``message``.

Candidate code runs here and in the Ray processes below; whoever starts this process treats it as untrusted.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from poise_lib.errors import CandidateError, EngineError, InvalidInputError
from poise_lib.evaluation.verl.adapter.ray_nodes import ADDRESS_VARIABLE, shared_environment
from poise_lib.evaluation.verl.adapter.required import hydra, required_overrides
from poise_lib.evaluation.verl.adapter.spec import load, read_spec
from poise_lib.evaluation.verl.composing import composed

FAILURE_VARIABLE: Final = "POISE_VERL_FAILURE"
RAY_ADDRESS_VARIABLE: Final = ADDRESS_VARIABLE
"""Where it is set, a Ray cluster runs already, over several nodes; the driver joins it."""
_KINDS: Final = ((CandidateError, "candidate"), (InvalidInputError, "settings"))


def join_cluster(config: Any, address: str | None) -> None:
    """Have Ray join a cluster that is there already, where the environment names one; its nodes have said what they hold.

    Args:
        config: VeRL's, changed in place.
        address: of the cluster's head; None starts one here.
    """
    if not address:
        return
    from omegaconf import open_dict

    with open_dict(config.ray_kwargs.ray_init) as ray_init:
        for own in ("num_cpus", "num_gpus", "object_store_memory", "include_dashboard"):
            ray_init.pop(own, None)
        ray_init.address = address
        # The processes on other nodes were started without what the ones here inherit.
        ray_init.runtime_env = {"env_vars": shared_environment(os.environ)}


class CandidateRunner:
    """The Ray actor that drives a run: VeRL's ``TaskRunnerV1`` with the adapter's trainer."""

    def run(self, config: Any) -> None:
        """Train to the end."""
        import transfer_queue as tq
        from omegaconf import OmegaConf
        from verl.trainer.ppo.v1 import AgentLoopManagerTQ

        from poise_lib.evaluation.verl.adapter.trainer import CandidateTrainer

        config.transfer_queue.enable = True
        OmegaConf.resolve(config)
        tq.init(config.transfer_queue)
        succeeded = False
        trainer: Any = None
        try:
            trainer = CandidateTrainer(config=config)
            trainer.init()
            manager = AgentLoopManagerTQ.create(
                config=config,
                llm_client=trainer.get_llm_client(),
                teacher_client=trainer.get_teacher_client(),
                reward_loop_worker_handles=trainer.get_reward_handles(),
            )
            trainer.fit(manager)
            succeeded = True
        finally:
            try:
                if getattr(trainer, "logger", None) is not None:
                    trainer.logger.finish(exit_code=0 if succeeded else 1)
            finally:
                tq.close()


def run(overrides: Sequence[str]) -> None:
    """Train the candidate of the environment.

    Raises:
        CandidateError: it does not load, or failed in training.
        InvalidInputError: a setting that VeRL does not take.
        EngineError: anything else.
    """
    algorithm, _ = load(read_spec())
    needed = [hydra(key, value) for key, value in required_overrides(algorithm.needs).items()]
    config = composed([*overrides, *needed])
    join_cluster(config, os.environ.get(RAY_ADDRESS_VARIABLE))
    import ray
    from verl.trainer.main_ppo import run_ppo
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config
    from verl.utils.device import auto_set_device

    auto_set_device(config)
    try:
        validate_config(
            config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config)
        )
    except (ValueError, AssertionError) as error:
        raise InvalidInputError(f"VeRL does not take these settings: {error}") from error
    try:
        run_ppo(config, task_runner_class=ray.remote(num_cpus=1)(CandidateRunner))
    except Exception as error:
        raise cause_of(error) from error
    finally:
        ray.shutdown()


def cause_of(error: BaseException) -> Exception:
    """What made a Ray task fail, however many tasks it came through: the candidate's own error, if it was one."""
    seen: set[int] = set()
    inner: BaseException | None = error
    last = error
    while inner is not None and id(inner) not in seen:
        seen.add(id(inner))
        if type(inner) is CandidateError:
            return inner
        last = inner
        inner = getattr(inner, "cause", None) or inner.__cause__
    lines = [line for line in str(last).strip().splitlines() if line.strip()]
    return EngineError(f"VeRL failed: {type(last).__name__}: {lines[-1].strip() if lines else ''}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The process's exit code; on failure, an account of it in the file that the environment names."""
    try:
        run(sys.argv[1:] if arguments is None else arguments)
    except Exception as error:
        traceback.print_exc()
        kind = next((word for kind, word in _KINDS if isinstance(error, kind)), "engine")
        if path := os.environ.get(FAILURE_VARIABLE):
            Path(path).write_text(json.dumps({"kind": kind, "message": str(error)}), encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
