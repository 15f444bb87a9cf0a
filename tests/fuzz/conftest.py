"""How long to fuzz: the same few hundred examples for each reader every time, or FUZZ_EXAMPLES=N new ones."""

import os

import pytest
from hypothesis import HealthCheck, settings

EXAMPLES = os.environ.get("FUZZ_EXAMPLES")
OPTIONS = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}

settings.register_profile("ci", max_examples=200, derandomize=True, **OPTIONS)
settings.register_profile("long", max_examples=int(EXAMPLES or 20_000), **OPTIONS)
settings.load_profile("long" if EXAMPLES else "ci")


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
