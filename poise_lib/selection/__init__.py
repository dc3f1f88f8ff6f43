"""Selection: which archived algorithms become parents of the next round, and what their proposers get to see.

============================================  =========================================================================
:mod:`~poise_lib.selection.acquisition`       ``select``: s(d) for every node, a batch of parents, their references
:mod:`~poise_lib.selection.descendant_gain`   the surrogate's target: Discounted Top-K Descendant Gain
:mod:`~poise_lib.selection.features`          what the surrogate sees of a node
:mod:`~poise_lib.selection.surrogate`         alpha_GP: Gaussian process with an upper confidence bound
:mod:`~poise_lib.selection.diversity`         U_div: novelty, use so far, distance to what a round already chose
:mod:`~poise_lib.selection.references`        context tiers: Pareto, complementary, exploratory
============================================  =========================================================================
"""
