"""The operator: observe objects and Jobs, ask the planner, apply what it wants.

::

    handlers   kopf's indexes and events: what exists, and which search to look at
    queue      one reconcile of a search at a time, coalesced, several searches side by side
    reconcile  observe -> plan -> apply for one search, until nothing changes
    cache      the watched objects as models, with our own writes laid over them
    jobs, pods a task's Job: names, labels, the hardened pod
    templates  what a Search asks of pods, over the platform's default
    inputs     a task's input, in as many ConfigMaps as it takes
    outcomes   how a Job ended: a result, a lost attempt, a disruption that does not count
    api        the few HTTP calls that are made, counted by verb
    lease      one active controller
"""
