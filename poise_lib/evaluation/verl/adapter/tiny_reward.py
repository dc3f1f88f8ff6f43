"""The tiny task's reward: VeRL loads this file by its path, so it imports nothing."""

import re

END = "<|im_end|>"
_ANSWER = re.compile(r"#(\d{1,3})")


def judge(response: str, answer: str) -> tuple[bool, bool]:
    """(correct, valid): an answer is '#' and digits, and nothing else."""
    found = _ANSWER.fullmatch(response.replace(END, "").strip())
    return found is not None and found.group(1) == answer, found is not None


def compute_score(
    data_source: str, solution_str: str, ground_truth: object, extra_info: object = None, **_: object
) -> dict[str, float]:
    """What VeRL's reward loop asks for: the score, and what else is known of the response."""
    correct, valid = judge(solution_str, str(ground_truth))
    return {"score": float(correct), "correct": float(correct), "valid": float(valid)}
