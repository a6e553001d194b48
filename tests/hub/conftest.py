"""The loopback Hub for the tests of this folder."""

from hub.fixtures import hub

__all__ = ["hub"]
