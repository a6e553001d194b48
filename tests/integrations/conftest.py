"""The loopback Hub for the tests of this folder."""

from loopback_hub.fixtures import hub

__all__ = ["hub"]
