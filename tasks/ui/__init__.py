"""How results reach the Prefect UI: artifacts, the bar of a training, addresses of runs, the library's log lines.

What does not belong here: what is said (models_lib.reports), and tasks.
"""
