"""Tasks: all slow or dangerous work, one protocol for all (:mod:`poise_lib.tasks.protocol`)."""
