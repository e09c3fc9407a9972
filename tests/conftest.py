"""Shared by all areas: the conformance kit's fixtures, as any plugin author gets them."""

pytest_plugins = ["mosaicfs_core.testing"]

# A package of its own, whose tests run where it is installed (plugins_host/test_third_party.py).
collect_ignore = ["third_party_example"]
