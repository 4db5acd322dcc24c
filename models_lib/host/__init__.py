"""The trading host's side of a deployment: it does the whole transaction itself, whatever becomes of the deployer.

    releases     complete bundles, and the links that say which of them is current
    messages     what deployer and host say to each other: one JSON request in, JSON lines out
    service      the command that restarts the runtime, and its health file
    rehearsal    the newest day answered by the new model before anything is switched
    watch        what a release may do and still stay
    first_bars   whether the runtime serves the new releases for the first bars, and what they answer
    transaction  activate and put back: journal, switch, restart, health, watch; or everything as it was
    command_line `crpbot-runtime host ...`

The steps of an activation, each of which may be repeated:

    lock         one at a time; the kernel frees it when its holder dies
    settle       an activation that was killed is undone first
    adopt        the uploaded bundle is verified file by file, then gets its name among the releases
    load         with this host's own Python: golden vectors must come out as recorded
    rehearse     the newest day; what breaks a limit never becomes current
    switch       the journal is written, then the links are replaced, then the runtime is restarted
    health       the runtime must live and name the new hash
    watch        the first bars; what breaks a limit is put on hold until a person releases it, and goes back. The others
                 share its restart and are watched anew. When the runtime ends, all go back, without a hold

What does not belong here: reaching the host (models_lib.deployment, tasks.adapters) and speaking (models_lib.runtime).
"""
