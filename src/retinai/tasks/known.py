"""The tasks of the data sets that retinai reads."""

from __future__ import annotations

from retinai.tasks.grade import GradeTask
from retinai.tasks.joint import JointTask
from retinai.tasks.multilabel import MultilabelTask
from retinai.tasks.unlabelled import UnlabelledTask

DR_GRADE = GradeTask("dr_grade", ("no_dr", "mild", "moderate", "severe", "proliferative"), referable_from=2)
DME_RISK = GradeTask("dme_risk", ("none", "low", "high"))
# Three yes-or-no questions of IDRiD's two grades: any retinopathy, a referable one, a high risk of macular oedema.
IDRID_LABELS = MultilabelTask("idrid_labels", ("any_dr", "referable", "dme_high"))
GRADE_AND_DME = JointTask.of("dr_grade_and_dme", DR_GRADE, DME_RISK)
ODIR_8 = MultilabelTask("odir", ("N", "D", "G", "C", "A", "H", "M", "O"))
ODIR_COURSE = MultilabelTask("odir_course", ("D", "G", "A"))
UNLABELLED = UnlabelledTask()
