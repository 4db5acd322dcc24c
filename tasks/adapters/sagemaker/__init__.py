"""Training as a job of AWS SageMaker (SPEC 13).

What does not belong here: the training (models_lib.training), and what it may cost (models_lib.costs).
"""
