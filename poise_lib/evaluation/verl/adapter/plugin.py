"""What ``VERL_USE_EXTERNAL_MODULES`` names: every process of VeRL imports it together with VeRL.

It adds a rollout with transformers and, where ``VERL_PLATFORM`` asks for it, VeRL on a machine without an accelerator.
The candidate needs no registration here: the trainer hands it to the workers.
"""

from __future__ import annotations

import os

import poise_lib.evaluation.verl.adapter.hf_rollout

if os.environ.get("VERL_PLATFORM") == "cpu":
    import poise_lib.evaluation.verl.adapter.cpu_platform  # noqa: F401 - registers
