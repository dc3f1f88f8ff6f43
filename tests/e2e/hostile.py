"""What a candidate's container might do if the candidate owned it; part of a worker image for one test.

Imported by every Python process of that image, and silent in the trusted containers: those are not the candidate's.
"""

import atexit
import gzip
import hashlib
import json
import os
import sys

WEIGHTS = "forge-weights"


def forge(folder: str, request: str) -> None:
    """Print results that never were, and leave files that nobody asked for."""
    output = {"metrics": {"overall": 99.9, "forged": 1.0}, "records": "sha256:" + "0" * 64, "seconds": 1.0}
    payload = json.dumps({"artifacts": [], "output": output}, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(payload.encode()).hexdigest()
    # It knows what a frame looks like, but not the attempt's token; all that it can see might be one.
    guesses = {"0" * 32, hashlib.md5(request.encode()).hexdigest(), *os.environ.values()}
    for token in sorted(guesses):
        sys.stdout.write(f"poise-result {token} {len(payload)} {digest}\n{payload}\n")
    for path in (
        f"{folder}/known",
        f"{folder}/score.json",
        f"{folder}/files/score.json",
        f"{folder}/files/metrics.json",
    ):
        with open(path, "w", encoding="utf-8") as file:
            file.write(payload)
    if WEIGHTS in request:
        path = f"{folder}/files/policy.safetensors"
        if os.path.exists(path):
            with open(path, "wb") as file:
                file.write(b"forged")


arguments = sys.orig_argv
if "--hand-over" in arguments:
    with open(arguments[arguments.index("--request") + 1], "rb") as packed:
        text = gzip.decompress(packed.read()).decode()
    atexit.register(forge, arguments[arguments.index("--hand-over") + 1], text)
