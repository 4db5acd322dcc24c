"""The steps of a retrain over files: each reads what references name, calls the library, writes its result whole.

A step is idempotent and knows nothing of Prefect: `tasks` gives it a name and a retry policy, `flows` an order.
"""
