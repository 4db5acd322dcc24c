"""Before the symbols of a run are trained on rented machines: everything is checked, and somebody answers for the costs.

In order: the preflight of all symbols; what the jobs may cost together; then `training.sagemaker.approval`. `auto` asks
nobody: the budgets, which it needs, answer. `required`: whoever started the run with --yes (or `payment: approved` in the
UI's form) has approved; else a run of a deployment is suspended and asks, as approval.py does it; else the run ends, for a
command cannot wait for a person. What was decided is kept in the run folder, and a run that goes on asks nobody again.

What does not belong here: reserving and billing a job (tasks.adapters.sagemaker), and approving a candidate (approval.py).
"""

from datetime import UTC, datetime
from typing import Any, Literal

from prefect import suspend_flow_run
from prefect.client.schemas.objects import State
from prefect.exceptions import Pause
from prefect.input import RunInput
from prefect.runtime import deployment
from prefect.states import Cancelled, Failed
from pydantic import Field, create_model
from pydantic.config import JsonDict

from flows.aftermath import link_of_run
from flows.approval import say_that_silence_is_right
from flows.waiting_runs import ASKS, FOR_SYMBOLS
from models_lib.errors import ConfigError, PreflightError
from models_lib.notifications.occasions import payment_notice, preflight_notice
from models_lib.steps.payment import Payment, Quote, keep_payment, keep_quote, kept_payment, kept_quote
from models_lib.steps.plan import RunPlan
from tasks.notify import tell
from tasks.preflight import check_run
from tasks.quote import quote_run
from tasks.show_costs import publish_costs
from tasks.show_preflight import publish_preflight
from tasks.ui.publish import for_the_eye, harmless
from tasks.ui.runs import NOT_PAID, PREFLIGHT_FAILED

Decision = Literal["approve", "refuse"]
PAUSE_KEY = "payment"
"""Another one than that of the approval of candidates: a run may ask both."""


class PaidAnswer(RunInput):
    """What a person answers; shown as a form. Prefect's server refuses an answer that breaks its schema."""

    decision: Decision = Field(
        description="approve: the jobs are submitted. refuse: the run ends, and nothing is billed."
    )
    by: str = Field(min_length=1, max_length=80, description="Your name, for the record.")
    note: str = Field(default="", max_length=500, description="A remark, for the record.")


def paid_for(plan: RunPlan, *, in_advance: bool) -> RunPlan | State[Any]:
    """The plan with what was decided about its costs; the state in which the run ends without a job.

    Suspends the flow run when a person must be asked: then it does not return, and the run comes here again.

    Args:
        plan: the run.
        in_advance: whether who started it has approved what it costs.

    Raises:
        ConfigError: a person must approve, and none can be asked.
    """
    if plan.config.training.backend != "sagemaker":
        return plan
    try:
        payment = kept_payment(plan.folder) or decided(plan, checked(plan), in_advance=in_advance)
    except PreflightError as error:
        notice = preflight_notice(plan, str(error), link_of_run(), now=datetime.now(UTC))
        harmless(tell, plan, [notice])
        return Failed(name=PREFLIGHT_FAILED, message=str(error), data=error)
    keep_payment(plan.folder, payment)
    if payment.decision == "refuse":
        return Cancelled(name=NOT_PAID, message=payment.refusal())
    return plan.model_copy(update={"payment": payment})


def checked(plan: RunPlan) -> Quote:
    """What the jobs may cost, after everything about them was checked; when the run goes on, what was asked before.

    Raises:
        PreflightError: a check failed.
    """
    found = check_run(plan)
    for_the_eye(publish_preflight, plan, found)
    found.refuse()
    return kept_quote(plan.folder) or keep_quote(plan.folder, quote_run(plan))


def decided(plan: RunPlan, quote: Quote, *, in_advance: bool) -> Payment:
    """What the budgets, or a person, say to the quote.

    Raises:
        ConfigError: a person must approve, and none can be asked.
    """
    if plan.config.training.sagemaker.approval == "auto":
        return Payment(quote=quote, decision="approve", how="budgets", by="the budgets of the run and of the month")
    if in_advance:
        return Payment(quote=quote, decision="approve", how="in advance", by=plan.who)
    if deployment.id is None:
        raise ConfigError(
            f"{quote.sentence()}. Nobody has approved that, so no job was submitted and nothing was billed. --yes approves "
            f"it; training.sagemaker.approval=auto leaves it to the budgets."
        )
    answer = asked(plan, quote)
    return Payment(quote=quote, decision=answer.decision, how="asked", by=answer.by, note=answer.note)


def asked(plan: RunPlan, quote: Quote) -> PaidAnswer:
    """What a person answers; suspends the flow run the first time."""
    harmless(tell, plan, [payment_notice(plan, quote, link_of_run(), now=datetime.now(UTC))])
    limit_seconds = int(plan.config.approval.time_limit_hours * 3600)
    try:
        return suspend_flow_run(wait_for_input=paid_form(plan, quote), timeout=limit_seconds, key=PAUSE_KEY)
    except Pause:
        say_that_silence_is_right()
        raise


def paid_form(plan: RunPlan, quote: Quote) -> type[PaidAnswer]:
    """The form for this run; its schema says what is asked, for whoever lists waiting runs."""
    told = PaidAnswer.model_fields["decision"].description
    what = f"up to {quote.ceiling_usd:.2f} USD for {', '.join(plan.symbols)}"
    asks: JsonDict = {ASKS: what, FOR_SYMBOLS: [*plan.symbols]}
    field = Field(description=told, json_schema_extra=asks)
    form = create_model("PaidAnswer", __base__=PaidAnswer, decision=(Decision, field))
    hours = plan.config.approval.time_limit_hours
    head = f"Run `{plan.run_id}` trains on rented machines. Without an answer within {hours:g} hours nothing is billed."
    return form.with_initial_data(description=f"{head}\n\n{quote.markdown()}")


def show_costs(plan: RunPlan) -> None:
    """The table of what was paid, in the UI; nothing where nothing is paid."""
    if plan.payment is not None:
        for_the_eye(publish_costs, plan, plan.payment)
