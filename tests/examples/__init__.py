"""Tests of examples/ and of what README.md and docs/ show."""
