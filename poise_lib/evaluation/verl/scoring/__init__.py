"""Scoring of a checkpoint that untrusted code left, in a process that never sees that code.

================  ===================================================================================================
``checkpoint``    tensors only, checked against the trusted base; everything else is the base's
``generation``    the narrow interface to what generates, and how a problem becomes a prompt
``backends``      transformers and vLLM behind it
``score``         problems -> responses -> verdicts -> metrics, intervals, records
================  ===================================================================================================
"""
