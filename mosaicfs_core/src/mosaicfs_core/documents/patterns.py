"""What the regular expressions of fields share. They are read by Python and, in the schemas, by whoever else."""

from typing import Final

END: Final = r"$(?!\n)"
"""The end of a text. In Python a bare ``$`` also matches before a newline that ends it; in JSON Schema (ECMA 262),
which knows no ``\\Z``, both mean the end."""
