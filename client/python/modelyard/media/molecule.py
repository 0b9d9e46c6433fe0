"""`Molecule`: a file of atoms and bonds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelyard.media import content, libraries
from modelyard.media.content import Content, Place
from modelyard.media.media import FileMedia

TYPES = ("pdb", "pqr", "mmcif", "mcif", "cif", "sdf", "sd", "gro", "mol2", "mmtf")
RDKIT_TYPES = ("mol", "sdf")


class Molecule(FileMedia):
    """A molecule: a file of a known type, by its path or opened with `file_type`. ValueError, OSError.

    `from_rdkit` and `from_smiles` make one with RDKit.
    """

    type_name = "molecule-file"
    folder = "molecule"
    list_type = "molecule"
    list_key = "molecules"

    def __init__(
        self, data_or_path: Any, caption: str | None = None, file_type: str | None = None, **ignored: Any
    ) -> None:
        super().__init__(_content(data_or_path, file_type), caption)

    @classmethod
    def from_rdkit(
        cls,
        data_or_path: Any,
        caption: str | None = None,
        convert_to_3d_and_optimize: bool = True,
        mmff_optimize_molecule_max_iterations: int = 200,
    ) -> Molecule:
        """A molecule of RDKit, or a mol or sdf file. Errors: ValueError, Error where RDKit is missing."""
        chem = libraries.load("rdkit.Chem", "Molecule.from_rdkit")
        found = data_or_path
        if isinstance(data_or_path, str | os.PathLike):
            kind = Path(data_or_path).suffix[1:].lower()
            if kind not in RDKIT_TYPES:
                raise ValueError(f"Molecule: RDKit reads {', '.join(RDKIT_TYPES)} here, not {kind!r}")
            found = chem.MolFromMolFile(os.fspath(data_or_path))
        if found is None:
            raise ValueError(f"Molecule: RDKit reads no molecule in {data_or_path!r}")
        if convert_to_3d_and_optimize:
            shapes = libraries.load("rdkit.Chem.AllChem", "Molecule.from_rdkit")
            found = chem.AddHs(found)
            shapes.EmbedMolecule(found)
            shapes.MMFFOptimizeMolecule(found, maxIters=mmff_optimize_molecule_max_iterations)
        made = cls.__new__(cls)
        FileMedia.__init__(made, Content(".pdb", chem.MolToPDBBlock(found).encode()), caption)
        return made

    @classmethod
    def from_smiles(
        cls,
        data: str,
        caption: str | None = None,
        sanitize: bool = True,
        convert_to_3d_and_optimize: bool = True,
        mmff_optimize_molecule_max_iterations: int = 200,
    ) -> Molecule:
        """The molecule of a SMILES text. Errors: ValueError, Error where RDKit is missing."""
        chem = libraries.load("rdkit.Chem", "Molecule.from_smiles")
        found = chem.MolFromSmiles(data, sanitize=sanitize)
        if found is None:
            raise ValueError(f"Molecule: RDKit reads no molecule in {data!r}")
        return cls.from_rdkit(
            found, caption, convert_to_3d_and_optimize, mmff_optimize_molecule_max_iterations
        )

    @classmethod
    def store_list(cls, items: Sequence[Any], place: Place) -> Any:
        """Stores a list as one map, with the paths of the files."""
        stored = super().store_list(items, place)
        return {**stored, "filenames": [one["path"] for one in stored[cls.list_key]]}


def _content(data: Any, file_type: str | None) -> Content:
    if isinstance(data, str | os.PathLike):
        kind = Path(data).suffix[1:].lower()
        if kind not in TYPES:
            raise ValueError(f"Molecule: files are of the types {', '.join(TYPES)}, not {kind!r}")
        return content.local_file("Molecule", data)
    if not callable(getattr(data, "read", None)):
        raise ValueError(f"Molecule takes a path or an open file, not {type(data).__name__}")
    if file_type not in TYPES:
        raise ValueError(f"Molecule: an open file needs file_type, one of {', '.join(TYPES)}")
    raw = data.read()
    return Content(f".{file_type}", raw if isinstance(raw, bytes) else raw.encode())
