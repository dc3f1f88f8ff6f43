"""The operators P, A and the distillation of arXiv:2603.23951 with a language model: prompts asked, answers judged.

* :mod:`~poise_lib.agents.voice`: how all of them ask; every exchange is kept, every call is paid.
* :mod:`~poise_lib.agents.proposer` (P: proposals and their screening), :mod:`~poise_lib.agents.implementer` (P: plan, code,
  repair), :mod:`~poise_lib.agents.reflector` (A), :mod:`~poise_lib.agents.distiller` (principles).
* :mod:`~poise_lib.agents.papers`: the literature, with a team's own.

Each is a coroutine over a :class:`~poise_lib.agents.voice.Voice`.  What they hand over has been through the rules of
:mod:`poise_lib.prompts.judging`: the model's word alone passes nothing.
"""
