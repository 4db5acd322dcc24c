"""Telling people: notices, the outbox that keeps them until they are delivered, and what a channel must do.

`verdicts` makes the notices of a finished run; it is imported from its module, because it knows the steps.
Real channels live in tasks/adapters.
"""

from models_lib.notifications.message import Figure, Notice
from models_lib.notifications.notifier import Notifier
from models_lib.notifications.outbox import deliver, post
from models_lib.notifications.sending import DeliveryReport

__all__ = ["DeliveryReport", "Figure", "Notice", "Notifier", "deliver", "post"]
