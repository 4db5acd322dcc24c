"""The steps as Prefect tasks: one module a step, with its name, its retry policy and one call into the library."""
