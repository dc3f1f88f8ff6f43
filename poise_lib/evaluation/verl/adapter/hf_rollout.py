"""A rollout engine "hf" for VeRL: transformers in one Ray actor, on the GPU if there is one, batching what arrives together.

VeRL's own rollouts are vLLM and SGLang servers.  This one speaks the same protocol to VeRL's agent loops and takes the
trainer's weights after each step, through Ray's object store: it is meant for small models, where vLLM is not to be had.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import ray
import torch
from verl.workers.rollout import base as verl_rollout
from verl.workers.rollout.replica import RolloutReplica, RolloutReplicaRegistry, TokenOutput

from poise_lib.evaluation.verl.adapter.sampling import Sampling, sample

NAME: Final = "hf"
_WINDOW_SECONDS: Final = 0.01
"""A batch starts when no request has come for so long."""


@dataclass(slots=True)
class _Request:
    prompt: list[int]
    sampling: Sampling
    answer: asyncio.Future[Any]


class Server:
    """The Ray actor that owns the model."""

    def __init__(self, config: Any, model_path: str, replica_rank: int) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self._config = config
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = getattr(torch, str(config.dtype))
        tokenizer = AutoTokenizer.from_pretrained(model_path)
        self._end, self._pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        settings = AutoConfig.from_pretrained(model_path)
        self._model = AutoModelForCausalLM.from_config(settings, attn_implementation="sdpa")
        self._model = self._model.to(self._device, dtype).eval()
        self._generator = torch.Generator(self._device).manual_seed(int(config.seed) + replica_rank)
        self._global_steps: int | None = None
        self._waiting: list[_Request] = []
        self._task: asyncio.Task[None] | None = None

    async def load_weights(self, weights: dict[str, Any]) -> None:
        """Take the trainer's weights.

        Raises:
            RuntimeError: they are not those of this model.
        """
        state = {name: torch.as_tensor(value) for name, value in weights.items()}
        found = self._model.load_state_dict(state, strict=False)
        tied = {"lm_head.weight"} if getattr(self._model.config, "tie_word_embeddings", False) else set()
        if found.unexpected_keys or set(found.missing_keys) - tied:
            raise RuntimeError(f"weights do not fit: unexpected {found.unexpected_keys}, missing {found.missing_keys}")

    async def set_global_steps(self, steps: int) -> None:
        """Of which step the weights are."""
        self._global_steps = steps

    async def resume_generation(self) -> None:
        """Nothing was stopped."""

    async def wake_up(self, tags: object = None) -> None:
        """Nothing sleeps."""

    async def sleep(self) -> None:
        """Nothing to free."""

    async def clear_kv_cache(self) -> None:
        """Nothing is kept between requests."""

    release_kv_cache = resume_kv_cache = clear_kv_cache

    async def abort_all_requests(self, reject_request: bool = False, **_: object) -> dict[str, Any]:
        """There is nothing to abort between steps."""
        return {"aborted_count": 0, "request_ids": []}

    async def generate(
        self, prompt_ids: Sequence[int], sampling_params: dict[str, Any], request_id: str, **_: object
    ) -> Any:
        """One response; requests that arrive together are sampled together."""
        given = sampling_params
        limit = given.get("max_tokens") or given.get("max_new_tokens") or self._config.response_length
        sampling = Sampling(
            float(given.get("temperature", 1.0)),
            float(given.get("top_p", 1.0)),
            int(given.get("top_k", -1)),
            int(limit),
        )
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(list(prompt_ids), sampling, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve())
        return await answer

    async def _serve(self) -> None:
        while self._waiting:
            seen = -1
            while seen != len(self._waiting):
                seen = len(self._waiting)
                await asyncio.sleep(_WINDOW_SECONDS)
            first = self._waiting[0].sampling
            batch = [one for one in self._waiting if one.sampling == first][: int(self._config.max_num_seqs)]
            taken = {id(one) for one in batch}
            self._waiting = [one for one in self._waiting if id(one) not in taken]
            prompts = [one.prompt for one in batch]
            try:
                sampled = await asyncio.to_thread(
                    sample, self._model, prompts, first, self._end, self._pad, self._generator
                )
            except Exception as error:
                for one in batch:
                    one.answer.set_exception(error)
                continue
            for one, (tokens, logs) in zip(batch, sampled, strict=True):
                one.answer.set_result(
                    TokenOutput(
                        token_ids=tokens,
                        log_probs=logs,
                        stop_reason="completed",
                        extra_fields={"global_steps": self._global_steps},
                    )
                )


class Replica(RolloutReplica):
    """Starts the server."""

    async def launch_servers(self) -> None:
        """One server, under the name by which the trainer's worker finds it."""
        settings = self.model_config
        path = settings["path"] if hasattr(settings, "__getitem__") else settings.path
        name = _server_name(self.replica_rank) + self.name_suffix
        # The GPU is the trainer's worker's; Ray would hide it from an actor that reserves none.
        shown = {"env_vars": {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}}
        options = {"name": name, "num_cpus": 0, "max_concurrency": self.max_concurrency, "runtime_env": shown}
        server = ray.remote(Server).options(**options).remote(self.config, path, self.replica_rank)
        await server.resume_generation.remote()  # returns once the model is there
        self.servers = [server]
        self._server_handle = server
        self._server_address = name


class WeightSender(verl_rollout.BaseRollout):
    """Lives in the trainer's worker, and sends weights to the server."""

    def __init__(
        self, config: Any, model_config: Any, device_mesh: Any, *_: object, replica_rank: int = -1, **__: object
    ) -> None:
        super().__init__(config, model_config, device_mesh)
        rank = int(os.environ.get("RANK", "0"))
        world = self.config.tensor_model_parallel_size * self.config.data_parallel_size
        self.replica_rank = rank // world if replica_rank == -1 else replica_rank
        self.is_leader_rank = rank % world == 0
        self.sleep_level = 2

    async def resume(self, tags: object) -> None:
        """Nothing sleeps."""

    async def release(self) -> None:
        """Nothing to free."""

    @torch.no_grad()
    async def update_weights(
        self, weights: Any, wire_format: str = "named_tensors", global_steps: int | None = None, **_: object
    ) -> None:
        """Send every tensor, as float32."""
        if wire_format != "named_tensors":
            raise RuntimeError(f"{NAME} takes named tensors, not {wire_format}")
        if hasattr(weights, "__aiter__"):
            named = {name: value async for name, value in weights}
        else:
            named = dict(weights)
        if not self.is_leader_rank:
            return
        server = ray.get_actor(_server_name(self.replica_rank))
        await server.load_weights.remote(
            {name: value.detach().float().cpu().numpy().copy() for name, value in named.items()}
        )
        if global_steps is not None:
            await server.set_global_steps.remote(global_steps)


def _server_name(replica_rank: int) -> str:
    return f"{NAME}_server_{replica_rank}_0"


verl_rollout._ROLLOUT_REGISTRY[(NAME, "async")] = f"{__name__}.{WeightSender.__name__}"
RolloutReplicaRegistry.register(NAME, lambda: Replica)
