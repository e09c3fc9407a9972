"""The secrets of instances, which are sealed to the node that the instance is on: put there, and opened there.

The control plane seals what it is given before it writes it, so that no replica, hub or backup holds it in clear. What
was written in clear once is sealed at its next start (``seal_plain``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from mosaicfs_core.documents import ids
from mosaicfs_core.documents.instances import settings_of
from mosaicfs_core.errors import Conflict, MosaicError, UserError
from mosaicfs_core.plugins.context import CoreServices
from mosaicfs_core.plugins.host import PluginHost
from mosaicfs_core.plugins.node_settings import RESERVED
from mosaicfs_core.plugins.settings import schema_for
from mosaicfs_core.security.node_keys import NodeKey
from mosaicfs_core.security.sealing import is_sealed, seal, unseal

logger = logging.getLogger(__name__)

Seal = Callable[[Any], str]
PARTS: Final = ("config", "settings")


def sealer(document_id: str, node_id: str, public_key: str | None) -> Seal:
    """How to seal a secret of an instance's document: to its node's key. Without one it raises ``Conflict``."""

    def apply(value: Any) -> str:
        if public_key is None:
            raise Conflict(f"{node_id} has no key yet that secrets could be sealed to; let it join first")
        return seal(value, public_key, document_id)

    return apply


def opened(document: Mapping[str, Any], key: Callable[[], NodeKey]) -> tuple[dict[str, Any], str | None]:
    """The flat settings of an instance with its secrets opened, and what is wrong with those that cannot be: they stay
    as they are. ``key`` is this node's, asked for only where something is sealed."""
    closed: list[str] = []

    def clear(value: Any, field: str) -> Any:
        if isinstance(value, Mapping):
            return {name: clear(inner, f"{field}.{name}") for name, inner in value.items()}
        if isinstance(value, list):
            return [clear(inner, f"{field}.{number}") for number, inner in enumerate(value)]
        if not is_sealed(value):
            return value
        try:
            return unseal(value, key(), document["_id"])
        except UserError as error:
            closed.append(f"setting {field}: {error.message}; set it again")
            return value

    settings = {name: clear(value, name) for name, value in settings_of(document).items()}
    return settings, "; ".join(closed) or None


async def seal_plain(core: CoreServices, own_key: NodeKey) -> None:
    """Seal what was stored in clear, of all nodes whose keys are known; what cannot be sealed is logged. ``own_key`` is
    this machine's."""
    for document in await core.store.read(lambda reader: list(reader.documents_of("plugin"))):
        node = await core.store.get(ids.node_document_id(document["node_id"])) or {}
        public = own_key.public if document["node_id"] == core.node_id else node.get("public_key")
        if public is None:
            continue
        change = partial(_sealed, core.host, str(public))
        try:
            if change(document) is not None:
                await core.store.update(document["_id"], change)
                logger.info("the secrets of %s are sealed from now on", document["_id"], extra={"operation": "seal"})
        except Exception as error:  # noqa: BLE001 - one document must not keep all others from their machines
            # A key that is none, a full disk, or a document that nobody foresaw, which a machine may have written: no
            # reason not to start, and the next start tries again.
            why = error.message if isinstance(error, MosaicError) else f"{type(error).__name__}: {error}"
            logger.error("the secrets of %s stay in clear: %s", document["_id"], why, extra={"operation": "seal"})


def _sealed(host: PluginHost, public_key: str, document: dict[str, Any] | None) -> dict[str, Any] | None:
    """The document with its secrets sealed, None when they are."""
    if document is None or document["plugin_name"] == RESERVED:
        return None
    schema, secret = schema_for(host, document), sealer(document["_id"], document["node_id"], public_key)
    sealed = {part: schema.sealed(document[part], secret) for part in PARTS if document.get(part)}
    return None if all(document[part] == value for part, value in sealed.items()) else {**document, **sealed}
