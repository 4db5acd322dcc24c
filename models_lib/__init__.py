"""Everything that would be true without Prefect, AWS or SSH."""
