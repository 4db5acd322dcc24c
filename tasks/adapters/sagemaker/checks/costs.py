"""What the jobs may cost together, held against the budgets, and whether their time limit is long enough.

What does not belong here: reserving it (models_lib.costs), which each submission does for itself.
"""

from collections.abc import Iterator

from models_lib.costs import Budgets, CostLedger, JobCost, ceiling_usd
from models_lib.preflight import Finding
from tasks.adapters.sagemaker.checks.asking import Inquiry, failed, passed, unknown
from tasks.adapters.sagemaker.prices import current_price


def costs(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether all jobs at their time limits stay within the budgets of the run and of the month.

    Without a price no budget can be kept, so then a configured one is a reason to stop.
    """
    section, ledger = inquiry.section, CostLedger(inquiry.home)
    budgets = Budgets(section.budget_per_run_usd, section.budget_per_month_usd)
    kind, place = section.instance_type, inquiry.region
    price = current_price(inquiry.aws, inquiry.tables, kind, place, home=inquiry.home, now=inquiry.now)
    if price is None:
        fact = f"what {kind} costs in {place} is not in the table of {inquiry.tables.reviewed}, and AWS does not say."
        remedy = "Allow pricing:GetProducts to the caller, or add the price to a file for training.sagemaker.tables"
        if (section.budget_per_run_usd, section.budget_per_month_usd) == (None, None):
            yield unknown("costs", f"{fact} The ceiling is not known.", f"{remedy}.")
        else:
            yield failed("costs", f"{fact} So no budget can be kept.", f"{remedy}.")
        return
    one = ceiling_usd(price, max_runtime_seconds=section.max_runtime_seconds)
    together = one * len(inquiry.symbols)
    fact = f"at most {together:.2f} USD for {len(inquiry.symbols)} jobs at their time limits, {price.sentence()}"
    # What this run has reserved for these symbols is for the very jobs that are asked about.
    others = [job for job in ledger.jobs() if not _is_asked_about(inquiry, job)]
    over = budgets.overdrawn_by(together, others, run_id=inquiry.run_id, now=inquiry.now)
    if over:
        yield failed("costs", f"{fact}.", " ".join(over))
    else:
        yield passed("costs", fact)


def _is_asked_about(inquiry: Inquiry, job: JobCost) -> bool:
    return job.outcome is None and job.run_id == inquiry.run_id and job.symbol in inquiry.symbols


def time_limit(inquiry: Inquiry) -> Iterator[Finding]:
    """Whether jobs like these have come to their end within the limit; a fact, not yet measured, without such jobs."""
    section, ledger = inquiry.section, CostLedger(inquiry.home)
    limit = section.max_runtime_seconds
    usual = {
        symbol: seconds
        for symbol in inquiry.symbols
        if (seconds := ledger.usual_seconds(symbol=symbol, instance_type=section.instance_type)) is not None
    }
    longest = max(usual, key=lambda symbol: usual[symbol], default=None)
    if longest is None:
        yield passed("time limit", f"{limit:,} s a job; how long one takes is not measured yet")
    elif usual[longest] < limit:
        yield passed("time limit", f"{limit:,} s a job; {longest} usually takes {usual[longest]:,.0f} s")
    else:
        fact = f"{limit:,} s a job, but {longest} usually takes {usual[longest]:,.0f} s."
        remedy = "Raise training.sagemaker.max_runtime_seconds, lower training.max_epochs, or take a faster machine."
        yield failed("time limit", fact, remedy)
