"""What every adapter for AWS shares: clients with time limits and retries, and errors that say what to do.

boto3's standard mode tries again by itself (five attempts with back-off and jitter, throttling included); what still fails
comes out as an error of models_lib.errors. AWS's wording varies between services and years, so errors are told apart by
their code, never by their text. Credentials and endpoints come from the environment, as for AWS's own tools.

What does not belong here: any one service.
"""
