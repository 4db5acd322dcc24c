"""Names in summary.json on which outsiders rely; each test that reads one takes them from here."""

TEST_METRICS = {
    "accuracy", "ece", "nll", "mean_confidence", "share_over_90", "share_over_99", "share_50_90", "max_abs_logit",
    "class_shares", "mechanical_rule_accuracy", "mechanical_rule_nll", "majority_accuracy", "lift", "lift_interval",
    "nll_improvement", "nll_improvement_interval", "driftless_rule_nll", "directional_accuracy", "edge_bp",
    "edge_after_costs_bp", "effective_rows",
}  # fmt: skip
"""Figures under metrics.test of a judged symbol."""
