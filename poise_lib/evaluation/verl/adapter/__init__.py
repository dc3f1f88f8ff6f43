"""A candidate inside VeRL: the same module that the embedded engine runs, unchanged.

=================  ================================================================================================
``spec``           what every process of a run must know of the candidate; text that travels, no objects
``convert``        VeRL's tensors -> the contract's ``Outcomes``, ``Batch`` and advantages; once a step, one process
``objective``      VeRL's tensors -> ``LossInputs`` -> a scalar; once a micro-batch, every worker
``metrics``        sums that survive VeRL's own averaging; the trajectory's part of VeRL's metrics
``blame``          a candidate's exception as one line that crosses processes
``history``        the records of finished steps, on disk: ``schedule`` reads them, a restart reads them back
``required``       what the adapter needs of VeRL's configuration
``worker``         the loss function that VeRL's actor calls
``trainer``        VeRL's synchronous trainer with the candidate in it
``driver``         the process that composes VeRL's configuration and starts it
``plugin``         what ``VERL_USE_EXTERNAL_MODULES`` names; with ``hf_rollout`` a rollout without vLLM, with
                   ``cpu_platform`` VeRL without an accelerator
``embedded``       VeRL on this machine: with ``tiny``, ``tiny_reward`` and ``sampling`` a model and a task made on the
                   spot and their scores, with ``processes`` nothing left behind
=================  ================================================================================================

The first seven need no more than torch, so that they can be tested, and run on any device, where VeRL is not installed.
"""
