"""The mount: the virtual tree as a read-only FUSE file system, in a process of its own.

* ``tree``, ``source``: what is asked of the namespace, and the thread it runs in;
* ``table``: what the kernel was told, and what it must be told when the tree changes (pure);
* ``operations``, ``attributes``, ``xattrs``, ``readiness``, ``notify``: the pyfuse3 adapter;
* ``handles``, ``opener``, ``agent``: bytes, local or through the agent's socket;
* ``follow``: changes; ``mountpoint``, ``session``, ``process``, ``spawn``: the life of a mount.

Only the adapter, ``session`` and ``process`` import pyfuse3: the rest works (and says what is missing) without it.
"""
