#!/bin/sh
# bible-alignments 0.4.2 and setuptools 80.9.0: a project's own package `data`, installed as editable, can't be imported.
#
# bible-alignments installs a folder data/ at the top of site-packages, without __init__.py. setuptools' editable install of
# a project finds its packages by a finder behind Python's own, which has by then taken that folder for a namespace package
# `data`. Expected: the project's regular package, which stands before namespace packages wherever both are on the path.
# Seen: `import data` outside of the project's folder gives the other package's folder. With editable_mode=compat the
# project's folder is on the path, and its package is found.
# The guard here: the Makefile installs with editable_mode=compat, and a test imports `data` from another folder.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
mkdir -p "$folder/project/data"
echo 'OWN = True' > "$folder/project/data/__init__.py"
cat > "$folder/project/pyproject.toml" <<'TOML'
[build-system]
requires = ["setuptools==80.9.0"]
build-backend = "setuptools.build_meta"
[project]
name = "project"
version = "1"
[tool.setuptools]
packages = ["data"]
TOML
pip() { "$folder/venv/bin/python" -m pip --disable-pip-version-check "$@" --quiet; }
pip install bible-alignments==0.4.2 --no-deps
cd "$folder"
ask='import data; print("own" if hasattr(data, "OWN") else "another", "package data")'
pip install --no-deps -e "$folder/project"
by_finder=$("$folder/venv/bin/python" -c "$ask")
pip install --no-deps -e "$folder/project" --config-settings editable_mode=compat
by_path=$("$folder/venv/bin/python" -c "$ask")
echo "editable: $by_finder; with editable_mode=compat: $by_path"
test "$by_finder" = "another package data" && test "$by_path" = "own package data"
