"""VeRL's synchronous trainer with a candidate in it; lives in the one process that drives a run.

What VeRL calls, and what the candidate does there:

======================  ============================================================================================
``step``                ``schedule`` on the history; afterwards the step's record joins the history
``_compute_advantage``  ``rewards`` and ``advantages`` on the whole batch, with what the reward function reported
``_update_actor``       the state of the step goes to the workers, whose loss function is the candidate's
``_compute_metrics``    the trajectory's metrics replace VeRL's where both have a name
======================  ============================================================================================

Importing this module registers the trainer under :data:`MODE`; it needs VeRL and Ray.
"""

from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import transfer_queue as tq
from omegaconf import open_dict
from tensordict import TensorDict
from torch import Tensor
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.workers.utils.padding import response_to_nested

from poise_lib.errors import CandidateError
from poise_lib.evaluation import trajectory as names
from poise_lib.evaluation.nano.checks import finite_coefficients
from poise_lib.evaluation.step_metrics import batch_metrics
from poise_lib.evaluation.verl.adapter.blame import blamed
from poise_lib.evaluation.verl.adapter.convert import Samples, StepState, advantages_of
from poise_lib.evaluation.verl.adapter.history import HISTORY_FILE, History
from poise_lib.evaluation.verl.adapter.metrics import decoded, record_of
from poise_lib.evaluation.verl.adapter.required import MODE
from poise_lib.evaluation.verl.adapter.spec import load, read_spec
from poise_lib.evaluation.verl.adapter.worker import STATE_KEY, candidate_loss, encode_state

POLL_SECONDS: Final = 0.05
"""How often finished responses are asked for; VeRL's 2 s are longer than a whole step of a small model."""
_FIELDS: Final = ("uid", "responses", "response_mask", "rm_scores", "old_log_probs", "ref_log_prob", "entropy",
                  "extra_fields")  # fmt: skip


@register_trainer(MODE)
class CandidateTrainer(PPOTrainerSync):
    """Trains with the candidate that the environment names."""

    def __init__(self, config: Any) -> None:
        with open_dict(config):
            config.trainer.v1.trainer_mode = "sync"  # what VeRL's own branches on the mode look at
        self._spec = read_spec()
        self._algorithm, self._hyper = load(self._spec)
        self._state = StepState(0, 0, int(config.data.max_response_length))
        self._measured: dict[str, float] = {}
        super().__init__(config)
        self.replay_buffer.poll_interval = POLL_SECONDS

    def on_init_end(self) -> None:
        """Give every worker the candidate's loss, and read the history back if a checkpoint was."""
        super().on_init_end()
        self.actor_rollout_wg.set_loss_fn(partial(candidate_loss, self._spec))
        folder = Path(os.path.abspath(self.config.trainer.default_local_dir))
        self._history = History(folder / HISTORY_FILE, self.global_steps)

    def step(self, metrics: dict[str, Any], timing_raw: dict[str, float]) -> Any:
        """One step of VeRL's, between a schedule and a record."""
        done = self.global_steps - 1
        with blamed("schedule", done):
            coefficients = finite_coefficients(self._algorithm, self._history.records, self._hyper, done)
        self._state = StepState(done, int(self.total_training_steps), self._state.max_length, coefficients)
        self._measured = {names.COEFFICIENT_PREFIX + name: value for name, value in coefficients.items()}
        batch = super().step(metrics, timing_raw)
        metrics.update(self._measured)
        self._history.append(record_of(metrics, done))
        return batch

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=list(_FIELDS))
        nested_mask = data["response_mask"]
        uid, extras = _listed(data.pop("uid")), _extras(data)
        padded = data.to_padded_tensor()
        # Rows that VeRL fills a batch up with are no samples.
        real = torch.tensor([not tag.get("is_padding", False) for tag in batch.tags])
        kept = real.nonzero().squeeze(-1)
        rows = kept.tolist()

        def of(name: str) -> Tensor | None:
            return padded[name][kept] if name in padded else None

        samples = Samples(
            scores=padded["rm_scores"][kept],
            response_mask=padded["response_mask"][kept],
            uid=[uid[row] for row in rows],
            old_logprobs=padded["old_log_probs"][kept],
            ref_logprobs=of("ref_log_prob"),
            entropy=of("entropy"),
            extras=None if extras is None else [extras[row] for row in rows],
        )
        made = advantages_of(self._algorithm, self._hyper, samples, self._state)
        cut = (made.batch.length >= self._state.max_length) & ~self._ended(padded["responses"][kept], made.batch.length)
        self._measured |= batch_metrics(made.batch, made.advantages, cut, samples.entropy, made.batch.ref_logprobs)
        advantages = torch.zeros_like(padded["rm_scores"], dtype=torch.float32)
        advantages[kept] = made.advantages
        nested = response_to_nested(advantages, nested_mask)
        output = TensorDict({"advantages": nested, "returns": nested}, batch_size=len(batch))
        return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=output)

    def _ended(self, responses: Tensor, length: Tensor) -> Tensor:
        """[B] bool: the response's last token is the tokenizer's end token."""
        last = responses.gather(-1, (length - 1).clamp(min=0).unsqueeze(-1)).squeeze(-1)
        return torch.eq(last, self.tokenizer.eos_token_id)

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        batch.extra_info[STATE_KEY] = encode_state(self._state)
        batch = super()._update_actor(batch, metrics)
        self._measured |= decoded(metrics)
        norm = float(metrics.get(names.GRAD_NORM, 0.0))
        if not math.isfinite(norm):  # VeRL would leave the update out and go on
            raise CandidateError(f"step {self._state.step}: the gradient of policy_loss is not finite (norm {norm})")
        return batch

    def _compute_metrics(self, batch: Any, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        super()._compute_metrics(batch, metrics, *args, **kwargs)
        metrics.update(self._measured)


def _listed(column: Any) -> list[Any]:
    """A column of VeRL's that holds no tensors, as a list of plain values."""
    values = column.tolist() if hasattr(column, "tolist") else list(column)
    return [getattr(value, "data", value) for value in values]


def _extras(data: Any) -> list[dict[str, object]] | None:
    """What the reward function reported, a mapping per sample; None where VeRL kept none."""
    if "extra_fields" not in data:
        return None
    found = []
    for fields in _listed(data.pop("extra_fields")):
        info = fields.get("reward_extra_info", {}) if isinstance(fields, dict) else {}
        found.append({name: value.item() if isinstance(value, np.generic) else value for name, value in info.items()})
    return found
