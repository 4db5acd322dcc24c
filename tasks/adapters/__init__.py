"""The only rooms that import clients of other people's services; they never import Prefect."""
