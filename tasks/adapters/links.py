"""The way to a host behind SSH, for whoever opens a deployment target. asyncssh is loaded when the first one is opened.

What does not belong here: how it works (ssh.py).
"""

from models_lib.config.targets import SshTargetSection
from models_lib.deployment.host_link import HostLink


def open_ssh(section: SshTargetSection) -> HostLink:
    """A link to the section's host; it connects when it is first used."""
    from tasks.adapters.ssh import SshLink  # noqa: PLC0415 - a run that deploys to no such host needs no SSH

    return SshLink(section)
