"""From a folder to the Hub: staging, model cards, upload."""
