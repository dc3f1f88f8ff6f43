"""What a language model is asked, and what is made of its answers.  Pure: messages in, messages out; nothing here talks to one.

- What goes in: :mod:`~poise_lib.prompts.messages` (a function a role), :mod:`~poise_lib.prompts.exhibits` (candidates),
  :mod:`~poise_lib.prompts.literature`, :mod:`~poise_lib.prompts.directions`, :mod:`~poise_lib.prompts.contract_text` (generated
  from the contract), :mod:`~poise_lib.prompts.context` (what fits into a budget).
- How: ``templates/``, :mod:`~poise_lib.prompts.rendering` (versions, what may be written raw), :mod:`~poise_lib.prompts.fencing`
  (data that cannot be obeyed).
- What comes out: :mod:`~poise_lib.prompts.responses` (forms), :mod:`~poise_lib.prompts.evidence` (numbers that were made up),
  :mod:`~poise_lib.prompts.judging` (rules over the model's word).
"""

from poise_lib.prompts.context import ContextTooSmallError, estimate_tokens
from poise_lib.prompts.directions import Direction, directions
from poise_lib.prompts.evidence import Evidence, evidence_of, invented
from poise_lib.prompts.exhibits import Exhibit, Reference, Tier, exhibit_of
from poise_lib.prompts.judging import (
    checked_principles,
    checked_reflection,
    intent_gaps,
    judged,
    ranked,
    rules_on,
    screening_of,
)
from poise_lib.prompts.literature import Literature, Paper, curated, load_literature
from poise_lib.prompts.messages import (
    code_prompt,
    critic_prompt,
    judge_prompt,
    plan_prompt,
    principles_prompt,
    propose_prompt,
    reflect_prompt,
    repair_prompt,
)
from poise_lib.prompts.rendering import Message, Prompt, Role, prompt_version, prompts_version

__all__ = [
    "ContextTooSmallError",
    "Direction",
    "Evidence",
    "Exhibit",
    "Literature",
    "Message",
    "Paper",
    "Prompt",
    "Reference",
    "Role",
    "Tier",
    "checked_principles",
    "checked_reflection",
    "code_prompt",
    "critic_prompt",
    "curated",
    "directions",
    "estimate_tokens",
    "evidence_of",
    "exhibit_of",
    "intent_gaps",
    "invented",
    "judge_prompt",
    "judged",
    "load_literature",
    "plan_prompt",
    "principles_prompt",
    "prompt_version",
    "prompts_version",
    "propose_prompt",
    "ranked",
    "reflect_prompt",
    "repair_prompt",
    "rules_on",
    "screening_of",
]
