"""Two real generators: vLLM for GPUs, transformers for a CPU and tiny models.

Both load a folder made by :func:`poise_lib.evaluation.verl.scoring.checkpoint.assemble`.  Neither takes sampling
defaults from the model's own generation_config.json, apart from which tokens end a response.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from poise_lib.errors import EngineError
from poise_lib.evaluation.verl.scoring.generation import Generator, Response, Sampling

BACKENDS: Final = ("vllm", "transformers")


def open_generator(
    backend: str, folder: Path, *, max_length: int, memory_share: float = 0.9, tensor_parallel: int = 1,
    trust_remote_code: bool = False,
) -> tuple[Generator, Any]:  # fmt: skip
    """A generator over the model in ``folder``, and its tokenizer.

    Args:
        backend: of :data:`BACKENDS`.
        folder: the model.
        max_length: longest prompt and response together, tokens.
        memory_share: of a GPU, for vLLM.
        tensor_parallel: GPUs that share the weights, for vLLM.
        trust_remote_code: whether Python files in the folder run.

    Raises:
        EngineError: the backend is not installed, unknown, or cannot load the model.
    """
    try:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
        match backend:
            case "vllm":
                made: Generator = VllmGenerator(
                    folder,
                    max_length=max_length,
                    memory_share=memory_share,
                    tensor_parallel=tensor_parallel,
                    trust_remote_code=trust_remote_code,
                )
            case "transformers":
                made = TransformersGenerator(folder, tokenizer, trust_remote_code=trust_remote_code)
            case _:
                raise EngineError(f"unknown backend {backend!r}; use one of {', '.join(BACKENDS)}")
    except ImportError as error:
        raise EngineError(f"scoring with {backend}: {error.name or error} is not installed") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise EngineError(f"scoring with {backend}: the model cannot be loaded: {error}") from error
    return made, tokenizer


class TransformersGenerator:
    """transformers' own generation; slow, runs anywhere."""

    ROWS: Final = 64
    """Responses that are sampled at once."""

    def __init__(self, folder: Path, tokenizer: Any, *, trust_remote_code: bool = False) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        self._torch = torch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            trust_remote_code=trust_remote_code,
            local_files_only=True,
            use_safetensors=True,
            dtype="auto",
        )
        self._model: Any = model.to(self._device).eval()
        self._tokenizer = tokenizer
        ends = self._model.generation_config.eos_token_id
        ends = ends if ends is not None else tokenizer.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [ends])
        pad = tokenizer.pad_token_id
        self._pad = int(pad if pad is not None else min(self._ends))

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[tuple[Response, ...]]:
        """See :class:`~poise_lib.evaluation.verl.scoring.generation.Generator`."""
        at_once = max(1, self.ROWS // sampling.n)
        responses: list[tuple[Response, ...]] = []
        for start in range(0, len(prompts), at_once):
            responses += self._part(prompts[start : start + at_once], sampling, start)
        return responses

    def _part(self, prompts: Sequence[Sequence[int]], sampling: Sampling, offset: int) -> list[tuple[Response, ...]]:
        from transformers import GenerationConfig

        torch = self._torch
        longest = max(len(prompt) for prompt in prompts)
        ids = torch.full((len(prompts), longest), self._pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        greedy = sampling.temperature == 0.0
        config = GenerationConfig(
            do_sample=not greedy,
            num_return_sequences=sampling.n,
            max_new_tokens=sampling.max_tokens,
            eos_token_id=sorted(self._ends),
            pad_token_id=self._pad,
            **({} if greedy else {"temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}),
        )
        with torch.random.fork_rng(), torch.inference_mode():
            torch.manual_seed(sampling.seed * 1_000_003 + offset)
            output = self._model.generate(
                ids.to(self._device), attention_mask=mask.to(self._device), generation_config=config
            )
        rows = [self._response(row) for row in output[:, longest:].tolist()]
        return [tuple(rows[start : start + sampling.n]) for start in range(0, len(rows), sampling.n)]

    def _response(self, tokens: list[int]) -> Response:
        end = next((place for place, token in enumerate(tokens) if token in self._ends), None)
        kept = tokens if end is None else tokens[: end + 1]
        return Response(self._tokenizer.decode(kept, skip_special_tokens=True), len(kept), end is not None)


class VllmGenerator:
    """vLLM: continuous batching on GPUs."""

    def __init__(
        self, folder: Path, *, max_length: int, memory_share: float, tensor_parallel: int, trust_remote_code: bool
    ) -> None:
        from vllm import LLM

        self._model: Any = LLM(
            model=str(folder),
            max_model_len=max_length,
            gpu_memory_utilization=memory_share,
            tensor_parallel_size=tensor_parallel,
            trust_remote_code=trust_remote_code,
            load_format="safetensors",
            generation_config="vllm",  # not the model's own temperature, top_p and penalties
            enable_prefix_caching=True,
            seed=0,
        )

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[tuple[Response, ...]]:
        """See :class:`~poise_lib.evaluation.verl.scoring.generation.Generator`."""
        from vllm import SamplingParams

        params = SamplingParams(
            n=sampling.n,
            temperature=sampling.temperature,
            top_p=1.0,
            max_tokens=sampling.max_tokens,
            seed=sampling.seed,
            skip_special_tokens=True,
        )
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        answers = self._model.generate(asked, params, use_tqdm=False)
        return [
            tuple(
                Response(one.text, len(one.token_ids), one.finish_reason == "stop")
                for one in sorted(answer.outputs, key=lambda output: output.index)
            )
            for answer in answers
        ]
