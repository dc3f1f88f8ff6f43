"""The ``poise`` command: :mod:`~poise_lib.cli.main` dispatches, ``commands/`` holds a module a command, the rest
renders.

Nothing heavy is imported before the command that needs it: ``poise --help`` reads a table, not the commands.
Text that candidates or models wrote is untrusted; every renderer passes it through :func:`poise_lib.cli.text.clean`.
"""
