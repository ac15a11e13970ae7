"""The training loop, and what builds, stops, resumes, saves and exports a run."""

import importlib.util
from pathlib import Path


def check_data_package() -> None:
    """Raise ImportError if `data` is another package of that name, which stands before ours on sys.path.

    Asked before anything of ours imports it: the other one may have no module of the name that is looked for.
    """
    root = Path(__file__).resolve().parents[1]
    spec = importlib.util.find_spec("data")
    folders = list(spec.submodule_search_locations or [str(spec.origin)]) if spec else []
    if root / "data" not in [Path(folder).resolve() for folder in folders]:
        raise ImportError(
            f"data is another package of that name, {', '.join(folders)}: put {root} first on sys.path before it "
            f"is imported, or run in that folder"
        )


check_data_package()
