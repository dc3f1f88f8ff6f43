"""In the driver's place: says what the run's settings tell it to, in VeRL's own formats; what it starts outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def main(told: list[str]) -> int:
    metrics = Path(os.environ["VERL_FILE_LOGGER_PATH"])
    daemon = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=True)
    Path("daemon").write_text(str(daemon.pid))
    for word in told:
        if word == "wait":
            signal.pause()
        elif word.startswith("fail="):
            kind = word.removeprefix("fail=")
            Path(os.environ["POISE_VERL_FAILURE"]).write_text(json.dumps({"kind": kind, "message": "what happened"}))
            return 1
        elif word == "die":
            sys.stderr.write("last words\n")
            return 3
        else:
            with metrics.open("a") as file:
                file.write(json.dumps({"step": int(word), "data": {"actor/kl": 0.5, "perf/x": 1.0}}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
