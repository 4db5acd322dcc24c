"""One module a command of `crpbot`; each has `execute(arguments) -> exit status`."""
