"""Credentials between machines: signatures, node keys, the instance's own certificate authority, outgoing requests.

A layer below the rules: it knows documents, the home and the error tree, and neither the store nor the server. Who is
known is looked up through a function that the user of a ``Verifier`` gives.
"""
