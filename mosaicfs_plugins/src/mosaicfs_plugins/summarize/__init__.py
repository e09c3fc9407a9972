"""summarize: a few sentences, the language and the keywords of every document, as an annotation beside it.

The hooks are in ``hooks``, not here, since the processes that read documents import this package as well, and each of
them is started for one document: what they need of it does not import the host.
"""
