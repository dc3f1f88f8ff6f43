"""Verify candidates: untrusted source is judged before it is trained, and is never imported by the one who judges.

- :mod:`~poise_lib.verification.verifier`: the whole of it, one function; the order of the checks.
- Static: :mod:`~poise_lib.verification.policy` (entry), :mod:`~poise_lib.verification.syntax` (the walk),
  :mod:`poise_lib.algorithms.allowed` (the lists), :mod:`~poise_lib.verification.declarations` (literals).
- Dynamic: :mod:`~poise_lib.verification.situations` (probe batches), :mod:`~poise_lib.verification.plan` (calls),
  :mod:`~poise_lib.verification.protocol` (files between parent and child), :mod:`~poise_lib.verification.child`.
- Judges: :mod:`~poise_lib.verification.contract_checks`, :mod:`~poise_lib.verification.intent_checks`,
  :mod:`~poise_lib.verification.behaviour` (what makes two algorithms the same), and the short training run's.
"""

from poise_lib.verification.behaviour import Behaviour
from poise_lib.verification.report import Check, Status, VerificationReport
from poise_lib.verification.verifier import verify

__all__ = ["Behaviour", "Check", "Status", "VerificationReport", "verify"]
