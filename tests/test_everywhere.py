"""The first question of the study of locality: four worlds, four networks."""

import pytest
import torch

from diffprobe.models import parameter_count
from diffprobe.studies.catalogue.locality import Locality
from diffprobe.studies.grid import Grid
from diffprobe.training.horizon import checkpoint_steps


def everywhere(scale: str) -> Grid:
    """Return the question at a scale."""
    return next(grid for grid in Locality().questions(scale) if "everywhere" in grid.title)


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_networks_of_a_world_have_as_many_parameters(scale: str) -> None:
    sizes: dict[str, list[int]] = {}
    for varied in everywhere(scale).combinations():
        config = everywhere(scale).config(varied, seed=0)
        shape = config.dataset().image_shape
        with torch.device("meta"):
            network = config.network.network(shape, None)
        sizes.setdefault(varied["label.world"], []).append(parameter_count(network))
    assert len(sizes) == 4
    for world, found in sizes.items():
        assert len(found) == 4, world
        assert max(found) < 1.15 * min(found), (world, found)


@pytest.mark.parametrize("scale", ["cpu", "gpu"])
def test_claims_name_steps_that_are_stored(scale: str) -> None:
    grid = everywhere(scale)
    named = [claim.where for claim in grid.claims if type(claim.where.get("step")) is int]
    assert len(named) == 4
    for where in named:
        rows = [
            varied
            for varied in grid.combinations()
            if varied["label.network"] == where["label.network"]
        ]
        assert len(rows) == 4
        for varied in rows:
            training = grid.config(varied, seed=0).training
            assert where["step"] in checkpoint_steps(training.steps, training.checkpoints)
