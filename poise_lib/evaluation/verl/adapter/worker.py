"""The loss function that VeRL's actor calls for every micro-batch, in place of its ``ppo_loss``.

VeRL's policy-loss registry hands a function neither entropy nor reference log-probabilities, and adds terms of its own;
its actor takes any loss function as a whole (``set_loss_fn``), which is what is used here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from poise_lib.evaluation.verl.adapter.convert import StepState
from poise_lib.evaluation.verl.adapter.objective import MicroBatch, MiniBatch, share_of
from poise_lib.evaluation.verl.adapter.spec import CandidateSpec, load

if TYPE_CHECKING:
    from torch import Tensor

STATE_KEY: Final = "poise_state"
"""Under which a batch carries the state of the step (JSON) to the workers."""
_OPTIONAL: Final = ("ref_log_prob", "rollout_log_probs")


def encode_state(state: StepState) -> str:
    """The state as text."""
    return json.dumps([state.step, state.total_steps, state.max_length, dict(state.coefficients)])


def decode_state(text: str) -> StepState:
    """What :func:`encode_state` wrote."""
    return StepState(*json.loads(text))


def candidate_loss(
    spec: CandidateSpec, *, model_output: dict[str, Any], data: Any, dp_group: object = None
) -> tuple[Tensor, dict[str, Any]]:
    """The candidate's loss of a micro-batch, and its metrics.

    Args:
        spec: the candidate; bound before VeRL sees the function.
        model_output: ``log_probs`` and maybe ``entropy``, nested tensors over prompt and response.
        data: the micro-batch, a TensorDict of nested tensors with VeRL's counts and :data:`STATE_KEY`.
        dp_group: not used; VeRL has counted over it already.

    Returns:
        A scalar to be summed over micro-batches and averaged over ranks; VeRL's ``Metric`` objects by name.

    Raises:
        CandidateError: the candidate failed; VeRL carries it to the process that started the run.
    """
    from verl.utils.metric import AggregationType, Metric
    from verl.workers.utils.padding import no_padding_2_padding

    algorithm, hyper = load(spec)
    entropy = model_output.get("entropy") if "entropy" in algorithm.needs else None
    present = ["response_mask", "old_log_probs", "advantages", *(name for name in _OPTIONAL if name in data)]
    padded = data.select(*present).to_padded_tensor()
    part = MicroBatch(
        logprobs=no_padding_2_padding(model_output["log_probs"], data),
        old_logprobs=padded["old_log_probs"],
        advantages=padded["advantages"],
        response_mask=padded["response_mask"],
        ref_logprobs=padded.get("ref_log_prob", None),
        rollout_logprobs=padded.get("rollout_log_probs", None),
        entropy=None if entropy is None else no_padding_2_padding(entropy, data),
    )
    whole = MiniBatch(int(data["batch_num_tokens"]), int(data["global_batch_size"]), int(data["dp_size"]))
    share = share_of(algorithm, hyper, part, whole, decode_state(data[STATE_KEY]))
    values = {"actor/pg_loss": share.loss.detach(), **share.metrics.encoded()}
    return share.loss, Metric.from_dict(values, aggregation=AggregationType.SUM)
