"""What ``VERL_USE_EXTERNAL_MODULES`` names: every process of VeRL imports it together with VeRL.

It adds VeRL on a machine without an accelerator, and only where ``VERL_PLATFORM`` asks for it.  The candidate needs no
registration here: the trainer hands it to the workers.
"""

from __future__ import annotations

import os

if os.environ.get("VERL_PLATFORM") == "cpu":
    import poise_lib.evaluation.verl.adapter.cpu_platform
    import poise_lib.evaluation.verl.adapter.cpu_rollout  # noqa: F401 - registers
