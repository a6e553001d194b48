"""From a folder to the Hub: staging, model cards, upload."""

from mert_hf.common.packages import require_packages

require_packages("train", "jinja2")
