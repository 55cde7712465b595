"""The grader of both eyes: labels of each photograph, read beside the patient's other eye."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from retinai.data.loading.fields import SampleField
from retinai.errors import DataError
from retinai.modules.classifier import Classifier
from retinai.modules.image_classifier import ImageClassifier
from retinai.two_eyes.field import OtherEyeField
from retinai.two_eyes.network import TwoEyesClassifier


class TwoEyes(Classifier):
    """A classifier that reads the patient's other eye beside each photograph, with one encoder for both.

    A sample stays a photograph with the labels of its own eye, so that splits, metrics, calibration and reports are
    those of any classifier; what both eyes say of the patient is pooled afterwards (`retinai evaluate
    level=patient`). A patient with one photograph is read as well.

    Args:
        name: Name of the configuration.
        **options: Of `Classifier`.
    """

    network_class: ClassVar[type[ImageClassifier]] = TwoEyesClassifier
    # A missing eye is left out of the encoder, which no graph of fixed steps does.
    is_tensor_graph: ClassVar[bool] = False

    features_of_one: ClassVar[bool] = False

    def __init__(self, *, name: str = "two_eyes", **options: Any) -> None:
        super().__init__(name=name, **options)

    @classmethod
    def config_problems(cls, cfg: DictConfig) -> Iterable[str]:
        """Return what is wrong with a classifier's choices, and that maps are of one photograph."""
        yield from super().config_problems(cfg)
        guidance = OmegaConf.select(cfg, "guidance.name")
        if guidance not in (None, "none"):
            yield f"guidance={guidance} needs maps of one photograph, and model=two_eyes reads two; set guidance=none"

    @property
    def network_kind(self) -> str:
        """A kind of its own: its head reads twice as many features as a classifier's."""
        return TwoEyes.__name__

    def fields(self) -> list[SampleField]:
        """Return the other eye, and what the branches read."""
        return [OtherEyeField(self.preprocessing), *super().fields()]

    def network_inputs(self, batch: Mapping[str, Any]) -> tuple[Tensor, ...]:
        """Return the photographs, those of the other eyes, both (B, 3, S, S), and what each branch reads.

        Raises:
            DataError: If the batch lacks one of them.
        """
        images, *values = super().network_inputs(batch)
        if OtherEyeField.name not in batch:
            raise DataError(
                "model=two_eyes reads the other eye, and the batches carry no 'other_eye'; give the datamodule the "
                "fields of the module: datamodule.use_fields(module.fields())"
            )
        return images, batch[OtherEyeField.name], *values

    def probabilities_of_views(self, images: Tensor, *more: Tensor) -> list[Tensor]:
        """Return class probabilities of each view, (B, C) each; both eyes are flipped alike."""
        other, *values = more
        pairs = zip(self.views(images), self.views(other), strict=True)
        return [self.criterion.probabilities(self(a, b, *values)) for a, b in pairs]

    def describe_network(self) -> Iterator[tuple[str, str]]:
        """Yield backbone, the other eye, branches and start weights."""
        first, *more = super().describe_network()
        yield first
        yield "beside it", "the patient's other eye, by the same encoder"
        yield from more
