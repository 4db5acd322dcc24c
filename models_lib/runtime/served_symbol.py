"""One symbol as a runtime serves it: its models, its window and its counts.

What does not belong here: what happens to a bar (engine.py).
"""

import logging
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from models_lib.bundle import Bundle
from models_lib.errors import CrpbotError
from models_lib.runtime.bars import BarWindow
from models_lib.runtime.decide import Terms
from models_lib.runtime.health import SymbolHealth
from models_lib.runtime.refusal import Refusal, RefusalKind
from models_lib.runtime.releases import Role, current_release, release_folder, renewed_at
from models_lib.runtime.scoring import Scorer
from models_lib.runtime.serving import ServedModel
from models_lib.runtime.tally import Tally

_LOG = logging.getLogger(__name__)


class ServedSymbol:
    """A symbol with what its links led to when the process started.

    A release that cannot be loaded leaves the symbol without a model: it is silent, and `silence` says why. A shadow that
    cannot be loaded is only told.

    Args:
        name: of the symbol.
        folder: the host folder.
        fill_no_trade_minutes: longest run of missing minutes that is filled, where the bundle's run does not say what its
            candles were filled with.
    """

    def __init__(self, name: str, folder: Path, *, fill_no_trade_minutes: int) -> None:
        self.name = name
        self._folder = folder
        self.tally = Tally()
        self.decided_ms: int | None = None
        """Open time of the newest bar that was decided on, in this process or an earlier one."""
        self.silence = Refusal(RefusalKind.NO_RELEASE, "the symbol has no release; deploy one")
        self.model = self._loaded(folder, "current")
        self.shadow: ServedModel | None = None
        self._shadow_link: str | None = None
        self.look_for_shadow()
        self._terms = terms_of(self.model) if self.model is not None else None
        if self.model is not None:
            fill_no_trade_minutes = trained_fill_minutes(self.model.bundle, otherwise=fill_no_trade_minutes)
        self.window = BarWindow(fill_no_trade_minutes=fill_no_trade_minutes)

    def look_for_shadow(self) -> None:
        """Loads the candidate that the shadow's link names, when it is another one than before. It needs no restart."""
        link = current_release(self._folder, self.name, role="shadow")
        if link != self._shadow_link:
            self._shadow_link = link
            self.shadow = self._loaded(self._folder, "shadow")
            self.tally.compare_anew()

    def _loaded(self, folder: Path, role: Role) -> ServedModel | None:
        if current_release(folder, self.name, role=role) is None:
            return None
        try:
            return ServedModel.load(release_folder(folder, self.name, role=role), symbol=self.name)
        except (CrpbotError, OSError) as error:
            sentence = f"the {role} release cannot be loaded: {error}"
            _LOG.warning("%s", sentence, extra={"symbol": self.name})
            self.tally.failed(sentence)
            if role == "current":
                self.silence = Refusal(RefusalKind.NO_RELEASE, sentence)
            return None

    @property
    def newest_ms(self) -> int | None:
        """Open time of the newest bar in the window."""
        return self.window.last_ms

    @property
    def bundle(self) -> str | None:
        """Hash of the loaded release."""
        return self.model.bundle.hash if self.model is not None else None

    @property
    def terms(self) -> Terms | None:
        """What the loaded release promises; a night that judged it good again has renewed its days."""
        if self._terms is None:
            return None
        renewed = renewed_at(self._folder, self.name, self._terms.bundle)
        if renewed is None or self._terms.judged_at is None or renewed <= self._terms.judged_at:
            return self._terms
        return replace(self._terms, judged_at=renewed)

    def health(self, scorer: Scorer, now: datetime) -> SymbolHealth:
        """How it stands now."""
        figures = scorer.live(self.name)
        return self.tally.health(
            self.window,
            bundle=self.bundle,
            shadow=self.shadow.bundle.hash if self.shadow is not None else None,
            live=figures.model_dump(mode="json") if figures is not None else None,
            live_line=figures.line() if figures is not None else None,
            now=now,
        )


def terms_of(model: ServedModel) -> Terms:
    """What the bundle promises about itself."""
    bundle = model.bundle
    envelope = bundle.manifest.envelope
    return Terms(
        bundle=bundle.hash,
        judged_at=bundle.facts.judged_at if bundle.facts is not None else None,
        valid_days=bundle.manifest.valid_days,
        max_outside=envelope.max_outside if envelope is not None else None,
    )


def trained_fill_minutes(bundle: Bundle, *, otherwise: int) -> int:
    """The longest run of missing minutes that was filled in the bundle's training; `otherwise` where its run does not say."""
    facts = bundle.facts
    data = facts.config.get("data") if facts is not None else None
    minutes = data.get("fill_no_trade_minutes") if isinstance(data, dict) else None
    return minutes if type(minutes) is int else otherwise
