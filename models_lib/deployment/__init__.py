"""Where promoted bundles are put to use: one protocol, the folder target, and the journal of unfinished switches."""

from models_lib.deployment.folder import FolderTarget
from models_lib.deployment.target import DeploymentTarget, open_target

__all__ = ["DeploymentTarget", "FolderTarget", "open_target"]
