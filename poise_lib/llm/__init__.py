"""The one place that talks to a language model.

Read in this order:

* :mod:`~poise_lib.llm.client`: ``ask(messages, schema, purse)`` and ``check(purse)``; everything else serves these two.
* :mod:`~poise_lib.llm.ledger`: what may be spent, and what has been; pure.  :mod:`~poise_lib.llm.purse` keeps it on disk,
  written before a call is sent.  :mod:`~poise_lib.llm.usage` says what a call is charged, :mod:`~poise_lib.llm.prices`
  what that costs, :mod:`~poise_lib.llm.tokens` how many tokens a text can be.
* :mod:`~poise_lib.llm.schema` and :mod:`~poise_lib.llm.extraction`: how an answer is made to fit a model of pydantic.
* :mod:`~poise_lib.llm.dialect`: what one server takes and another refuses; :mod:`~poise_lib.llm.wire` sends one call.
* :mod:`~poise_lib.llm.errors`: what may go wrong, each with the fix; :mod:`~poise_lib.llm.transcript`: what is kept.

Only ``client`` and ``wire`` import the SDK: the planner uses the ledger and the prices without it.
"""
