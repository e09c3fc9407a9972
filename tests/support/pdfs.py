"""PDFs of many kinds: in six languages, of one page or several, protected, damaged, without text, and those that this
machine has anyway."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fpdf import FPDF

SENTENCES: Final = {
    "de": (
        "Die Orgel der alten Kirche wurde im Jahr 1742 gebaut und klingt bis heute. Der Verein sammelt Geld, damit das "
        "Dach erneuert werden kann. Im Sommer spielen Studenten der Hochschule jeden Sonntag ein Konzert. Nach dem "
        "Krieg fehlten die Pfeifen, und niemand wusste, wohin man sie gebracht hatte. Heute kümmert sich eine kleine "
        "Werkstatt um die Orgel und ihre Pfeifen. Die Werkstatt wird von der Gemeinde bezahlt."
    ),
    "en": (
        "The river has always decided where people of this valley could live. In spring it rises over its banks and "
        "leaves the fields under water for weeks. The old bridge was carried away twice, and each time it was built "
        "again by the people of the valley. An engineer has measured how fast the river falls behind the mill. His "
        "figures show that the bridge stands too low. The council will decide in autumn what is to be done about it."
    ),
    "fr": (
        "La bibliothèque du village a ouvert ses portes pour la première fois il y a cent ans. Elle possède "
        "aujourd'hui plus de livres que le village ne compte d'habitants. Les enfants viennent y lire après l'école, "
        "surtout quand il pleut. Une ancienne institutrice range les livres et raconte des histoires. La commune "
        "voudrait agrandir la salle de lecture, mais il lui manque de l'argent."
    ),
    "es": (
        "El mercado de la plaza se celebra todos los sábados desde hace siglos. Los campesinos llegan muy temprano con "
        "las verduras que han recogido el día anterior. Muchos vecinos compran allí porque los precios son más bajos "
        "que en la ciudad. El ayuntamiento quiere trasladar el mercado a otro lugar más grande. Los vendedores temen "
        "que entonces nadie vaya a comprar."
    ),
    "it": (
        "Il pescatore esce in mare ogni notte con la piccola barca di suo padre. Quando torna al porto, la gente lo "
        "aspetta già per comprare il pesce fresco. Negli ultimi anni il mare è diventato più caldo e i pesci sono "
        "diminuiti. Per questo motivo molti giovani hanno lasciato il paese. Il vecchio porto rischia di restare senza "
        "barche."
    ),
    "pt": (
        "A escola da ilha tem apenas doze alunos e uma professora que vive perto da praia. As crianças chegam de barco "
        "todas as manhãs quando o mar está calmo. Nos dias de tempestade não há aulas e os alunos ficam em casa. A "
        "professora não quer deixar a ilha porque gosta muito das crianças. O governo pensa em fechar a escola no "
        "próximo ano."
    ),
}


def make(directory: Path, number: int) -> dict[str, str | None]:
    """Write ``number`` files, the same every time; their names with the languages that they are in, None where that
    cannot be known."""
    chance = random.Random(1742)
    languages: dict[str, str | None] = {}
    for serial in range(number):
        name = f"paper-{serial:03}.pdf"
        language = chance.choice(list(SENTENCES))
        kind = {0: "protected", 1: "damaged", 2: "blank", 3: "empty"}.get(serial % 50, "text")
        data = b"" if kind == "empty" else _pdf(chance, language, serial, kind)
        (directory / name).write_bytes(data[: len(data) // 2] if kind == "damaged" else data)
        languages[name] = language if kind == "text" else None
    return languages


def shipped(most: int = 20, largest: int = 1 << 20) -> Iterator[Path]:
    """PDFs that the packages of this machine and of this Python brought, up to a size."""
    found = 0
    for root in ("/usr/share/doc", "/usr/share/cups", sys.prefix):
        for place, _, names in os.walk(root):
            for name in names:
                path = Path(place, name)
                if name.endswith(".pdf") and not path.is_symlink() and 0 < path.stat().st_size <= largest:
                    yield path
                    found += 1
                    if found == most:
                        return


def _pdf(chance: random.Random, language: str, serial: int, kind: str) -> bytes:
    """A document of its own, by what ``serial`` and ``chance`` say."""
    paper = FPDF(format=chance.choice(["A4", "legal", "letter"]))
    paper.set_compression(serial % 3 != 0)
    if serial % 4:
        paper.set_title(f"Paper {serial}")
    if kind == "protected":
        paper.set_encryption(owner_password="owner", user_password="reader")
    sentences = [f"{part.removesuffix('.')}." for part in SENTENCES[language].split(". ")]
    for page in range(1 + serial % 3):
        paper.add_page()
        if kind == "blank":
            paper.rect(20, 20, 60, 60)
            continue
        paper.set_font(chance.choice(["helvetica", "times", "courier"]), size=chance.choice([9, 11, 13]))
        chance.shuffle(sentences)
        paper.multi_cell(0, 6, " ".join([*sentences, f"({page + 1}.{serial})"]))
    return bytes(paper.output())
