"""A candidate inside VeRL: the same module that the embedded engine runs, unchanged.

====================  ==============================================================================================
``spec``              what every process of a run must know of the candidate; text that travels, no objects
``convert``           VeRL's tensors -> the contract's ``Outcomes``, ``Batch`` and advantages; once a step, one process
``objective``         VeRL's tensors -> ``LossInputs`` -> a scalar; once a micro-batch, every worker
``metrics``           what a step is measured by, and sums that survive VeRL's own averaging
``history``           the records of finished steps, on disk: ``schedule`` reads them, a restart reads them back
``worker``            the loss function that VeRL's actor calls
``trainer``           VeRL's synchronous trainer with the candidate in it
``driver``            the process that composes VeRL's configuration and starts it
``plugin``            what ``VERL_USE_EXTERNAL_MODULES`` names: VeRL on a machine without an accelerator
====================  ==============================================================================================

The first five need torch alone, so that they can be tested, and run on any device, where VeRL is not installed.
"""
