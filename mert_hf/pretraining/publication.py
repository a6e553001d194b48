"""Publishing what a run has trained; what can be refused is refused before the training."""

import logging
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from mert_hf.encoding.licences import weights_licence
from mert_hf.engine.run_folder import RunFolder
from mert_hf.pretraining.settings import PublishSettings, RunSettings
from mert_hf.publishing.hub import next_tag, require_write_access, upload
from mert_hf.publishing.model_card import CardFacts, find_facts, inherit_base
from mert_hf.publishing.staging import stage

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Publication:
    """Where (`user/name`) and how a trained model will be published."""

    repo_id: str
    facts: CardFacts
    template: Path
    settings: PublishSettings

    def publish(self, run: RunFolder) -> None:
        """Check and upload the model of a finished run.

        Raises:
            InputError: a check failed, or the Hub refuses; the model stays in the run's folder.
        """
        with tempfile.TemporaryDirectory() as staging:
            staged = stage(run.folder, staging, self.repo_id, self.facts, self.template)
            message = f"Publish {run.folder.name}"
            published = upload(staged.folder, self.repo_id, message, self.settings.tag, self.settings.private)
        logger.info("Published: %s, commit %s, tag %s", published.url, published.commit, published.tag)


def plan_publication(settings: RunSettings, cards: Path) -> Publication | None:
    """Find out whether the model can be published when it is trained; None where it is not wanted.

    Args:
        cards: folder of the template and of the facts.

    Raises:
        InputError: no licence, or one that the licence of `init.model` does not allow; no token that may write there, or a tag
            that is taken.
    """
    if settings.push_to_hub is None:
        return None
    facts = find_facts(cards, settings.publish.card, settings.publish.license)
    base = settings.init.model
    facts = inherit_base(facts, base, base and weights_licence(base))
    if int(os.environ.get("RANK", 0)) == 0:
        require_write_access(settings.push_to_hub)
        next_tag(settings.push_to_hub, settings.publish.tag)
    return Publication(settings.push_to_hub, facts, cards / "template.md", settings.publish)
