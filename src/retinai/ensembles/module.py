"""Several trained graders that answer as one, or one that is asked several times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from retinai.data.loading.fields import SampleField
from retinai.ensembles.passes import Passes, dropout_layers
from retinai.ensembles.report import uncertainty_part
from retinai.modules.classifier import Classifier
from retinai.modules.grading import GradingModule
from retinai.modules.outside import Distance, first_features
from retinai.prediction.calibration.temperature import calibrated_probabilities
from retinai.prediction.outside import DISTANCE, KnownFeatures, Limit
from retinai.prediction.predictions import Predictions
from retinai.prediction.steps import PROBABILITY, PredictionStep
from retinai.prediction.uncertainty import disagreement
from retinai.reports.outside import outside_part
from retinai.reports.parts import ReportPart


class EnsembleGrader(GradingModule):
    """The mean of the calibrated probabilities of its members, or of several answers of each.

    Each member's probabilities are scaled by its own temperature, where it has one, before the mean is taken; the
    decision is that of the mean. What a member gives besides probabilities (masks, sentences) is left out. Operating
    points and sets of its own come from `retinai.ensembles.calibration`. Built by `of`.

    Args:
        task: `Task.to_dict()` of all members.
        preprocessing: `Preprocessing.to_dict()` of all members.
        loss: The `loss` section of a member, which says how probabilities become decisions.
        class_counts: Of that member.
        num_samples: Of that member.
        seed: Of that member.

    Source: Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
        NeurIPS 2017.
    """

    def __init__(
        self,
        *,
        task: dict[str, Any],
        preprocessing: dict[str, Any],
        loss: dict[str, Any],
        class_counts: Sequence[int],
        num_samples: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            task=task, preprocessing=preprocessing, loss=loss, class_counts=class_counts, num_samples=num_samples,
            seed=seed, optimizer={}, scheduler={}, name="ensemble",
        )  # fmt: skip
        self.passes = Passes()
        self.outside: Limit | None = None  # of `calibrate_ensemble`; of a single member its own

    @classmethod
    def of(cls, members: Sequence[GradingModule], passes: Passes | None = None) -> EnsembleGrader:
        """Return the ensemble of trained modules in evaluation mode.

        Args:
            members: At least one, of one task, one preprocessing and one decision rule
                (see `retinai.ensembles.opening.check_members`).
            passes: How often each is asked about a photograph; None: once.
        """
        first = members[0]
        ensemble = cls(
            task=first.task.to_dict(),
            preprocessing=first.preprocessing.to_dict(),
            loss=dict(first.hparams["loss"]),
            class_counts=first.class_counts,
            num_samples=first.hparams.get("num_samples"),
            seed=first.seed,
        )
        ensemble.network.extend(members)
        ensemble.passes = passes or Passes()
        if len(members) == 1:
            ensemble.model_name, ensemble.split = first.model_name, first.split
            ensemble.data_config = dict(first.data_config or {})
            for known in ensemble.described:
                ensemble.outside = Limit(1.0, known.false_alarms, known.n, known.validated)
        ensemble.largest_batch = min((m.largest_batch for m in members if m.largest_batch is not None), default=None)
        return ensemble.eval()

    def build_network(self) -> nn.Module:
        """Return the list that `of` fills."""
        return nn.ModuleList()

    @property
    def members(self) -> list[GradingModule]:
        """The graders, in the order given."""
        return list(self.network)

    @property
    def backbone_name(self) -> str:
        """The backbones of the members, each with how often it occurs, such as `resnet18 x 3`."""
        names = [member.backbone_name for member in self.members]
        if len(names) == 1:
            return names[0]
        return " + ".join(f"{name} x {names.count(name)}" for name in dict.fromkeys(names))

    @property
    def described(self) -> list[KnownFeatures]:
        """What each member's features of its training are like; empty unless all know, and nothing is dropped there."""
        found = [
            member.outside
            for member in self.members
            if isinstance(member, Classifier)
            and member.outside is not None
            and not (self.passes.dropout_samples and dropout_layers(member.network.encoder))
        ]
        return found if len(found) == len(self.members) else []

    def fields(self) -> list[SampleField]:
        """Return what any member reads beside photographs, each field once."""
        return _once(field for member in self.members for field in member.fields())

    def photograph_fields(self) -> list[SampleField]:
        """Return what loose files need of `fields`."""
        return _once(field for member in self.members for field in member.photograph_fields())

    def prediction_steps(self) -> list[PredictionStep]:
        """Return the mean of the members and their disagreement."""
        return [MeanOfMembers()]

    def report_parts(self, predictions: Predictions) -> list[ReportPart]:
        """Return how well the members' doubt tells right decisions from wrong ones."""
        certainty = uncertainty_part(predictions)
        if self.outside is None or DISTANCE not in predictions.columns:
            return [certainty]
        return [certainty, outside_part(predictions, self.outside)]

    def photograph_steps(self) -> list[PredictionStep]:
        """Return the same for loose files."""
        return [MeanOfMembers()]


class MeanOfMembers(PredictionStep):
    """`probability` (B, C), the mean of the members' answers; `entropy` and `mutual_information` (B,), in nats.

    `distance` (B,), the mean of the members' in units of their common limit, where one was chosen.
    """

    name = "members"

    def run(self, module: EnsembleGrader, batch: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
        """Run every member on the batch."""
        answers, far = list[np.ndarray](), list[torch.Tensor]()
        described: Sequence[KnownFeatures | None] = module.described if module.outside else [None] * len(module.members)
        for member, known in zip(module.members, described, strict=True):
            if known is None:
                answers += _answers(member, module.passes, batch)
                continue
            with first_features(member.network) as seen:
                answers += _answers(member, module.passes, batch)
            far.append(Distance(known).to(seen[0].device)(seen[0])[:, 0].cpu())
        each = np.stack(answers, axis=1)
        unsure = disagreement(each, module.task.distribution)
        results = {PROBABILITY: each.mean(axis=1), **unsure}
        found = {name: torch.from_numpy(values) for name, values in results.items()}
        return {**found, **({DISTANCE: torch.stack(far).mean(dim=0) / module.outside.limit} if module.outside else {})}


def _answers(member: GradingModule, passes: Passes, batch: Mapping[str, Any]) -> list[np.ndarray]:
    """Return the probabilities of each answer of a member as it shows them, float64, (B, C) each."""
    found = (one.double().cpu().numpy() for one in passes.run(member, batch))
    return [calibrated_probabilities(one, member.calibration) for one in found]


def _once(fields: Any) -> list[SampleField]:
    """Return the fields, the first of each name."""
    return list({field.name: field for field in reversed(list(fields))}.values())[::-1]
