"""What runs unattended: Prefect's server, two workers, and what must stand on the server before they are of use.

    python -m flows.serving           `make server`: the server, what must stand on it, the workers; watches over them
      |-- flows.serving.server        Prefect's API, UI and services
      |-- flows.serving.ensure        work pools, limit, deployments, automations; twice is once
      `-- flows.serving.worker POOL   carries out the runs of one work pool, each in a process of its own

Each of them is a process, because each may be killed without the others: systemd starts the same four commands
(deployments/systemd). `train-all` and its children are on different work pools, or a parent would wait for ever for a
place that it occupies itself.

    supervision   a child that died is started again, later and later; nothing outlives the parent
    settings      the one place for the environment of server, workers and the ensure-script
    automations   what the server itself does about runs that fell silent, never started, came too late or failed
    one_process   how each of them begins, and how it says why it cannot
    late_runs     of several nights that were missed only the latest is carried out
    night_watch   a small flow: sends what could not be sent, tells of runs that ended without a word, tidies up

A worker that is killed leaves its run alive, which goes on by itself; the server that is killed comes back with the
same database while the port stays open, so a run waits for it. A worker that is *stopped* (SIGTERM) ends its runs.

What does not belong here: the steps of a run, and what is sent to whom (models_lib.notifications).
"""
