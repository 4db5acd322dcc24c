"""The sections of the configuration: frozen, typed, closed, with meaning and unit under each field.

A function takes the section that it needs, never the whole. A field has a default only where there is a reason for one;
the reasons for the recipe's numbers are measured ones (README, "The recipe").

What does not belong here: reading files or the command line (loading.py) and anything that acts on the values.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from models_lib.config.aws_sections import S3Uri, SageMakerSection
from models_lib.config.section import Finite, PositiveFloat, PositiveInt, Section, Share
from models_lib.config.targets import LocalTargetSection, TargetSection, WatchSection

Severity = Literal["blocking", "advisory"]
SYMBOL_PATTERN = r"^[A-Z0-9]{2,15}-[A-Z0-9]{2,10}$"
SymbolName = Annotated[str, Field(pattern=SYMBOL_PATTERN)]
TargetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
EmailAddress = Annotated[str, Field(pattern=r"^[!-~]+@[A-Za-z0-9.-]+$", max_length=254)]
"""ASCII, without a display name."""
ControlName = Literal["shuffled", "signflip"]
CONTROLS: tuple[ControlName, ...] = get_args(ControlName)
NoticeEvent = Literal[
    "failed",
    "crashed",
    "held",
    "promoted",
    "deployed",
    "rolled_back",
    "preflight_failed",
    "completed",
    "expiring",
    "approval_needed",
    "undone",
    "live_alarm",
    "data_alarm",
    "control_alarm",
    "started",
    "progress",
]
EVENTS: tuple[NoticeEvent, ...] = get_args(NoticeEvent)


class DataSection(Section):
    """Where candles come from, and what they must satisfy before use (SPEC 2)."""

    source: Literal["simulated", "parquet", "s3", "exchange"] = "simulated"
    """`simulated` is embedded and works offline; `parquet` reads `path`/<SYMBOL>.parquet; `s3` the same below `uri`;
    `exchange` asks the section `exchange` for what is missing in the archive of candles, and reads that."""
    path: Path | None = None
    """Folder of the parquet source, required for it; of the exchange's archive, null: `candles` in CRPBOT_HOME."""
    uri: S3Uri | None = None
    """Where the s3 source has its <SYMBOL>.parquet, such as s3://bucket/candles, required for it; where the exchange's
    archive is kept instead of a folder, null: in `path`."""
    market: Literal["default", "null", "iid", "planted"] = "default"
    """Kind of the simulated market."""
    seed: Annotated[int, Field(ge=0)] = 7
    """Seed of the simulated market."""
    days: Annotated[int, Field(ge=1, le=3650)] = 50
    """Length of the simulated market in days of 1,440 minutes, and of the newest candles of an exchange (two years: 730).
    Other sources use every row of their files; before a paid training these must cover at least 90 % of so many days."""
    round_minutes: Annotated[int, Field(ge=1, le=1440)] = 60
    """The candles of an exchange end at a whole multiple of so many minutes (UTC), so that a run that was killed works on
    the same ones when it is started again before the next multiple. 1440 where a training costs money; 1: the newest."""
    fill_no_trade_minutes: Annotated[int, Field(ge=0, le=60)] = 5
    """Longest run of missing minutes that is filled with the last close and zero volume; 0 fills nothing."""
    max_missing_share: Share = 1.0
    """Largest share of missing minutes between the first and the last bar, after filling. The default records holes
    and refuses none: each hole starts a new segment, so it costs rows, not truth."""
    max_zero_volume_run_minutes: PositiveInt = 240
    """A longer run of bars without volume is recorded as a warning."""
    max_age_days: PositiveInt = 2
    """A newest bar older than this is recorded as a warning; not judged for the simulated market."""

    @property
    def simulated_market(self) -> Literal["default", "null", "iid", "planted"] | None:
        """Kind of the simulated market that the candles come from; None: real ones."""
        return self.market if self.source == "simulated" else None

    @field_validator("market", mode="before")
    @classmethod
    def _null_is_a_market(cls, value: Any) -> Any:
        """YAML reads the bare word `null` as nothing, also in `--set data.market=null`; here it is a name."""
        return "null" if value is None else value

    @model_validator(mode="after")
    def _path_goes_with_parquet(self) -> Self:
        if self.source == "parquet" and self.path is None:
            raise ValueError(
                "data.path must be set when data.source is parquet: the folder with <SYMBOL>.parquet files"
            )
        if self.source not in {"parquet", "exchange"} and self.path is not None:
            raise ValueError(
                "data.path is only for data.source=parquet or exchange; add --set data.source=parquet, or drop the path"
            )
        return self

    @model_validator(mode="after")
    def _uri_goes_with_s3(self) -> Self:
        if self.source == "s3" and self.uri is None:
            raise ValueError("data.uri must be set when data.source is s3: s3://bucket/prefix with <SYMBOL>.parquet")
        if self.source not in {"s3", "exchange"} and self.uri is not None:
            raise ValueError(
                "data.uri is only for data.source=s3 or exchange; add --set data.source=s3, or drop the uri"
            )
        if self.uri is not None and self.path is not None:
            raise ValueError("data.path and data.uri are two places for one archive; set one of them")
        return self


class LabelSection(Section):
    """What the model is asked (SPEC 4)."""

    kind: Literal["trend", "forward_return", "triple_barrier"] = "trend"
    """`trend`: smoothed label; `forward_return`: log return over the horizon; `triple_barrier`: which barrier first."""
    lookback_minutes: Annotated[int, Field(ge=1, le=240)] = 60
    """Bars of the past mean of `trend`; also the embargo after a split boundary."""
    horizon_minutes: Annotated[int, Field(ge=1, le=240)] = 15
    """Bars that the label looks ahead."""
    quantile: Annotated[float, Field(gt=0.0, lt=1.0)] = 1.0 / 3.0
    """Share of the training rows whose label value is called NEUTRAL."""
    threshold: Literal["quantile", "volatility_scaled"] = "quantile"
    """`quantile`: one threshold; `volatility_scaled`: the threshold is a multiple of realised volatility (240 bars)."""
    barrier_atr_multiple: PositiveFloat = 2.0
    """Half-width of the barriers of `triple_barrier`, in average true ranges (60 bars)."""


class SplitsSection(Section):
    """Chronological train, validation and test parts by rows (SPEC 5); the rest after both is the test part."""

    train_share: Annotated[float, Field(gt=0.1, lt=0.95)] = 0.70
    """Share of the usable rows for training."""
    validation_share: Annotated[float, Field(gt=0.02, lt=0.5)] = 0.15
    """Share of the usable rows for validation."""
    min_rows: Annotated[int, Field(ge=50)] = 500
    """Fewest rows of each part. Intervals need more: 30 blocks, 7,200 test rows; with fewer they are not measured."""

    @model_validator(mode="after")
    def _leaves_a_test_part(self) -> Self:
        if self.train_share + self.validation_share > 0.98:
            raise ValueError(
                f"splits.train_share + splits.validation_share must leave a test part of at least 0.02, "
                f"was {self.train_share + self.validation_share:.3f}"
            )
        return self


class NetworkSection(Section):
    """The network between scaled features and logits (SPEC 6)."""

    family: Literal["v6", "v7", "v8"] = "v8"
    """v6: no normalisation, no dropout, no scaler (legacy); v7: BatchNorm; v8: learned mix of BatchNorm and LayerNorm."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.3
    """Share of hidden units dropped while training (v7, v8)."""
    norm_mix_start: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.9
    """Starting weight of BatchNorm in the v8 mix; the rest is LayerNorm. 0.5 is the table's neutral start."""
    input_clip_std: PositiveFloat | None = 5.0
    """Scaled features are clipped to this many standard deviations inside the network; null clips nothing."""
    initial_temperature: PositiveFloat = 2.5
    """Where the learned temperature starts (v7, v8)."""


class TrainingSection(Section):
    """How the network is fitted (SPEC 6)."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 20_251_116
    """Seed of weights, permutations and dropout; the symbol's name is mixed in."""
    backend: Literal["local", "sagemaker"] = "local"
    """Where training runs: `local` is a subprocess of this machine; `sagemaker` is a paid job in AWS's cloud."""
    sagemaker: SageMakerSection = SageMakerSection()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes CUDA when it is there."""
    cuda_graph: bool = True
    """On CUDA, start the kernels of a step together, as one captured graph. False starts each by itself: slower,
    and the way out where a driver refuses the capture."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """Focal: alpha (1 - p)^gamma ce with p = exp(-ce)."""
    focal_alpha: PositiveFloat = 0.25
    """Scale of the focal loss."""
    focal_gamma: Annotated[float, Field(ge=0.0)] = 2.0
    """Focusing exponent of the focal loss."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the target spread evenly over the classes."""
    class_weights: Literal["none", "balanced"] = "none"
    """`balanced` weighs each class by the inverse of its share of the training rows."""
    optimizer: Literal["adam", "adamw"] = "adamw"
    """Adam, or Adam with decoupled weight decay."""
    learning_rate: PositiveFloat = 3e-3
    """Step size at the start."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """`cosine` decays the step size to zero over max_epochs."""
    weight_decay: Annotated[float, Field(ge=0.0)] = 0.01
    """Decoupled weight decay of AdamW; Adam takes none."""
    batch_size: Annotated[int, Field(ge=2, le=1_048_576)] = 1_024
    """Rows a step."""
    max_epochs: PositiveInt = 6
    """Passes over the training rows at most."""
    patience: PositiveInt = 3
    """Epochs without a better validation NLL (after temperature) before training stops."""
    weight_average_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.99
    """Per-step decay of the exponential moving average of the weights that is judged and kept; 0 keeps the raw ones."""
    gradient_clip_norm: PositiveFloat | None = 1.0
    """Largest gradient norm of a step; null clips nothing."""
    gate_warm_up_epochs: Annotated[int, Field(ge=0)] = 2
    """Epochs before failed gates count towards stopping."""
    gate_stop_epochs: PositiveInt = 3
    """Consecutive epochs with a failed blocking gate that stop the training."""
    time_limit_minutes: PositiveFloat = 120.0
    """The local training subprocess is killed after this; SageMaker has max_runtime_seconds."""
    max_parallel: PositiveInt | None = None
    """Symbols trained at once; null is the number of cores."""


class TemperatureSection(Section):
    """The sweep that informs beside the fitted temperature (SPEC 8)."""

    sweep: tuple[PositiveFloat, ...] = (0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.0, 10.0)
    """Temperatures of the sweep table."""
    target_low: Share = 0.60
    """Lower end of the mean confidence that the sweep looks for."""
    target_high: Share = 0.75
    """Upper end of it."""


class EvaluationSection(Section):
    """How figures and their intervals are measured (SPEC 4, 5)."""

    costs_bp: Annotated[float, Field(ge=0.0)] = 10.0
    """Cost of a round trip, in basis points of the price."""
    block_bars: PositiveInt = 240
    """Length of a bootstrap block in bars."""
    long_block_bars: PositiveInt = 1_440
    """Block length when the test part has `long_test_rows` rows or more."""
    long_test_rows: PositiveInt = 100_000
    """Rows from which the long blocks are used."""
    min_blocks: PositiveInt = 30
    """With fewer blocks an interval is not measured."""
    bootstrap_samples: Annotated[int, Field(ge=200, le=100_000)] = 2_000
    """Resamples of the moving-block bootstrap."""
    bootstrap_seed: Annotated[int, Field(ge=0)] = 1
    """Seed of the resamples."""
    ece_bins: PositiveInt = 15
    """Equal-width confidence bins of the calibration error."""
    controls: tuple[ControlName, ...] = ()
    """Trainings that must find nothing, done beside each model, on this machine, and judged as it is: `shuffled` (labels
    permuted) and `signflip` (market with random signs of the returns). They find leaks, and change no verdict."""

    @field_validator("controls")
    @classmethod
    def _each_control_once(cls, controls: tuple[ControlName, ...]) -> tuple[ControlName, ...]:
        if len(set(controls)) < len(controls):
            raise ValueError("must name each control once")
        return controls


class Gate(Section):
    """A gate without a number of its own."""

    severity: Severity = "blocking"
    """A failed blocking gate holds the candidate; an advisory one is reported."""


class LimitGate(Gate):
    """A gate with one limit."""

    limit: Finite
    """The limit that the measured value is held against."""


class BandGate(Gate):
    """A gate with a lower and an upper limit."""

    low: Finite
    """Lower end, included."""
    high: Finite
    """Upper end, included."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low must not exceed high, was {self.low} > {self.high}")
        return self


class LogitGate(LimitGate):
    """logit_range: the largest logit, and how often a clamp may be what kept it there."""

    max_clamped_share: Share = 0.01
    """Largest share of rows in which a model's own clamp may cut a logit; a model without a clamp has none."""


class RuleGate(LimitGate):
    """beats_mechanical_rule: two figures against two limits."""

    min_lift: Finite = -0.01
    """Smallest accuracy minus the mechanical rule's."""


class ConfidenceGate(BandGate):
    """confidence_band: the mean confidence within low..high, and the share of middling predictions within its own band."""

    share_50_90_low: Share = 0.70
    """Smallest share of predictions with a confidence between 0.5 and 0.9, included."""
    share_50_90_high: Share = 0.80
    """Largest share of them, included."""


class GatesSection(Section):
    """Limits and severity of every gate (SPEC 7); the defaults are the requirement, not a wish."""

    scaler_present: Gate = Gate()
    """The saved file holds mean and scale, finite, scale > 0."""
    feature_normalisation: LimitGate = LimitGate(limit=0.1)
    """Largest |mean| and |std - 1| of the scaled training features, exclusive."""
    logit_range: LogitGate = LogitGate(limit=15.0)
    """Largest |logit| after temperature, exclusive, and the largest share of clamped rows."""
    overconfidence: LimitGate = LimitGate(limit=0.10)
    """Share of predictions with confidence above 0.99, exclusive."""
    class_balance: BandGate = BandGate(low=0.15, high=0.60)
    """Share of each class among the predictions."""
    finite: Gate = Gate()
    """No NaN or infinity in features, logits, probabilities or weights."""
    calibration_error: LimitGate = LimitGate(limit=0.05)
    """Expected calibration error, exclusive."""
    accuracy: LimitGate = LimitGate(limit=0.68)
    """Smallest accuracy, inclusive; comparable only within one label definition."""
    beats_mechanical_rule: RuleGate = RuleGate(limit=0.0)
    """The lower end of the nll_improvement interval must exceed the limit."""
    beats_driftless_rule: LimitGate = LimitGate(limit=0.0, severity="advisory")
    """The lower end of the interval of (driftless NLL - model NLL) must exceed the limit."""
    not_worse_than_champion: LimitGate = LimitGate(limit=0.0)
    """The upper end of the interval of (champion NLL - candidate NLL) must not lie below the limit."""
    confidence_band: ConfidenceGate = ConfidenceGate(low=0.60, high=0.85, severity="advisory")
    """Mean confidence, and the share of predictions between 0.5 and 0.9."""
    edge_after_costs: LimitGate = LimitGate(limit=0.0, severity="advisory")
    """Mean forward return of acted-on calls after costs, in basis points, exclusive."""
    feature_drift: LimitGate = LimitGate(limit=0.25, severity="advisory")
    """Floor of the per-feature limit on the population stability index of the newest week."""


class BundleSection(Section):
    """What a bundle promises."""

    valid_days: PositiveInt = 7
    """Days after which the runtime refuses the bundle."""


class DeploymentSection(Section):
    """Where a promoted bundle goes."""

    target: TargetName | None = "local"
    """Name of the target of a run; null deploys nothing, and the deployment step says so."""
    targets: dict[TargetName, TargetSection] = Field(
        default_factory=lambda: {"local": LocalTargetSection(kind="local")}, validate_default=True
    )
    """Every target by its name. `local`: a folder and a runtime on this machine, which answers the newest hours and ends;
    a configuration may put another of that name in its place, and cannot remove it."""
    keep_releases: Annotated[int, Field(ge=2)] = 5
    """Releases kept a symbol; the current one and the one before it always are."""
    lock_seconds: Annotated[float, Field(ge=0.0, le=7_200.0)] = 900.0
    """How long to wait for another deployment on the same host: a run deploys its symbols one after the other."""
    watch: WatchSection = WatchSection()

    @model_validator(mode="after")
    def _target_is_one_of_them(self) -> Self:
        if self.target is not None and self.target not in self.targets:
            raise ValueError(f"deployment.target must be one of {', '.join(sorted(self.targets))}, was {self.target}")
        return self


class OrchestrationSection(Section):
    """How the symbols of a run are spread, and what a run may wait for (SPEC 10)."""

    fanout: Literal["local", "deployment"] = "local"
    """`local`: every symbol in this process; `deployment`: one flow run a symbol on `symbol_deployment`'s work pool."""
    symbol_deployment: Annotated[str, Field(pattern=r"^train-symbol/[a-z0-9-]+$")] = "train-symbol/on-pool"
    """Deployment that trains one symbol. Its work pool must not be the parent's, or both wait for ever."""
    task_runner: Literal["threads", "dask", "ray"] = "threads"
    """What runs the symbols of a `local` fan-out: threads; a Dask or Ray cluster (extras `dask`, `ray`)."""
    cluster_address: str | None = None
    """Address of a running Dask or Ray cluster; null starts one on this machine for the run."""
    gpu_limit: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = "crpbot-gpu"
    """Prefect's global concurrency limit under which a training uses this machine's GPU."""
    symbol_time_limit_minutes: PositiveFloat = 360.0
    """A symbol that takes longer has failed: its thread is given up, its run on a work pool is cancelled."""
    late_limit_hours: PositiveFloat = 23.0
    """A scheduled run that could start only so late is skipped: the next one is near. Below the schedule's interval."""


class ApprovalSection(Section):
    """Where the run waits for a person (SPEC 10)."""

    promotion: Literal["auto", "required"] = "auto"
    """`required`: a candidate that passed every blocking gate is promoted only after a person approved it."""
    deployment: Literal["auto", "required"] = "auto"
    """`required`: the same question, asked only where a deployment target is configured. Promotion and deployment are
    one transaction, so a run asks once."""
    time_limit_hours: PositiveFloat = 12.0
    """Without an answer until then the candidates are held and the champions stay."""


class RetentionSection(Section):
    """How long `crpbot clean` and every nightly run keep what is no longer needed (SPEC 11)."""

    cache_days: PositiveFloat = 2.0
    """Results of finished steps, from which a run resumes; counted from their last use."""
    runs_days: PositiveInt = 90
    """Run folders: summary and reports; and what `crpbot diagnose`, `temperature` and `compare` left in the home."""
    held_bundles_days: PositiveInt = 30
    """Bundles that are neither champion, nor the one before, nor deployed."""


class EmailSection(Section):
    """The mail server of the e-mail channel; the password comes from the environment: CRPBOT_SMTP_PASSWORD."""

    host: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9.:-]+$")]
    """Name of the mail server, as its certificate has it."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    """587 for `starttls`, 465 for `tls`, as a rule."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """The server's certificate is verified; `none` is for a relay on this machine, without user."""
    ca_file: Path | None = None
    """PEM file of the authority that signed the server's certificate; null trusts those of this machine."""
    user: Annotated[str, Field(min_length=1)] | None = None
    """Account to log in with; null sends without logging in, and needs no password."""
    sender: EmailAddress
    """Address that the messages come from."""
    recipients: Annotated[tuple[EmailAddress, ...], Field(min_length=1)]
    """Addresses that get every message."""

    @model_validator(mode="before")
    @classmethod
    def _holds_no_password(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and any("pass" in str(key).lower() for key in tree):
            raise ValueError("must not hold a password: leave the key out, and set CRPBOT_SMTP_PASSWORD")
        return tree

    @model_validator(mode="after")
    def _password_is_never_sent_in_clear(self) -> Self:
        if self.security == "none" and self.user is not None:
            raise ValueError("security=none would send the password in clear: use starttls or tls, or set no user")
        return self


class NotificationsSection(Section):
    """Who is told what (SPEC 10). Secrets come from the environment alone; see the channels.

    Any address that apprise knows is an additional channel: CRPBOT_APPRISE_URLS, separated by blanks.
    """

    events: tuple[NoticeEvent, ...] = tuple(event for event in EVENTS if event not in ("started", "progress"))
    """What is told; `started` and `progress` only when named here. An empty list tells nothing."""
    slack: Literal["auto", "required", "never"] = "auto"
    """`auto`: on when CRPBOT_SLACK_WEBHOOK_URL is set; `required`: its absence is a warning of every run."""
    email: EmailSection | None = None
    """Mail server and recipients; null sends no e-mail."""
    digest_symbols: Annotated[int, Field(ge=1)] = 5
    """A run of more symbols is told in one message instead of one or two a symbol."""
    timeout_seconds: Annotated[float, Field(gt=0.0, le=60.0)] = 5.0
    """An endpoint that is silent for so long gets the message later."""
    give_up_days: Annotated[float, Field(gt=0.0, le=365.0)] = 7.0
    """A message that cannot be delivered is tried again for so long, then kept aside."""

    @model_validator(mode="before")
    @classmethod
    def _holds_no_address(cls, tree: Any) -> Any:
        """A webhook's address is a secret: it must not get into the run folder with the configuration."""
        if isinstance(tree, dict) and any("://" in str(value) for value in tree.values()):
            raise ValueError(
                "must not hold a URL, which is a secret: set CRPBOT_SLACK_WEBHOOK_URL or CRPBOT_APPRISE_URLS instead"
            )
        return tree
