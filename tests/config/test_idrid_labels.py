"""IDRiD as three labels goes through the compositions of the course on ODIR."""

from __future__ import annotations

import pytest

from retinai.config.checks import check
from retinai.config.compose import compose


@pytest.mark.parametrize("row", ["odir_course", "odir_course_focal", "odir_course_balanced", "odir_course_mha"])
def test_a_row_of_the_course_takes_idrid(row: str) -> None:
    cfg = compose("train", [f"+experiment={row}", "data=idrid", "data.target=labels"])
    check("train", cfg)
    assert (cfg.data.name, cfg.data.target, cfg.trainer.max_epochs) == ("idrid", "labels", 25)
    assert "layout" not in cfg.data
