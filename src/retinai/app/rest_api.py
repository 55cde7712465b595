"""REST beside the page: one photograph in, what was found of it out.

Annotations are evaluated here, since FastAPI reads them and some name what a function holds.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, FastAPI, Form, HTTPException, UploadFile
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import BaseModel, Field

from retinai import __version__
from retinai.app.rendering import reason_text
from retinai.app.results import Action
from retinai.app.security import Password
from retinai.app.service import Service
from retinai.app.texts import load_texts
from retinai.errors import UserError

DISCLAIMER = "Research software: no medical device, no medical opinion."
OPENAPI = "/api/v1/openapi.json"

_basic = HTTPBasic(auto_error=False)
Login = Annotated[HTTPBasicCredentials | None, Depends(_basic)]
Eye = Annotated[Literal["right", "left", ""], Form(description="which eye it is; empty where nobody knows")]
Operator = Annotated[str, Form(max_length=100, description="who asks, for the record; ignored where users log in")]


class Model(BaseModel):
    """The model that grades."""

    task: str
    classes: list[str]
    backbone: str
    sha256: str = Field(description="of its description, which holds those of all its files")
    retinai: str


class Answer(BaseModel):
    """What was found of a photograph."""

    photograph_sha256: str
    eye: str
    prediction: list[str] = Field(description="the grade, or the labels that hold; empty where there is none")
    probabilities: dict[str, float]
    set: list[str] = Field(description="the grades that cannot be ruled out; empty where the model has no sets")
    quality: str = Field(description="`good`, `usable` or `reject`; empty where it could not be judged")
    action: Action
    reasons: list[str] = Field(description="why that is to be done, the weightiest first")
    recommendation: str = Field(description="what the guideline advises for the grade; empty where it is silent")
    model_sha256: str
    milliseconds: int
    disclaimer: str = DISCLAIMER


def make_api(service: Service, password: Password | None) -> FastAPI:
    """Return the application that the page is mounted on.

    Args:
        service: Grades the uploads.
        password: What users give; None asks for none.
    """
    # The usual pages of documentation load scripts from elsewhere, which a clinic's machine need not reach.
    api = FastAPI(
        title="retinai", version=__version__, description=DISCLAIMER, openapi_url=None, docs_url=None, redoc_url=None
    )

    def user(login: Login) -> str | None:
        if password is None:
            return None
        if login is None or not password.accepts(login.username, login.password):
            raise HTTPException(401, "a user name and the password are needed", {"WWW-Authenticate": "Basic"})
        return login.username

    api.include_router(_routes(service, user), prefix="/api/v1")

    @api.get(OPENAPI, include_in_schema=False, dependencies=[Depends(user)])
    def schema() -> dict[str, Any]:
        return api.openapi()

    return api


def _routes(service: Service, user: Any) -> APIRouter:
    routes = APIRouter()

    @routes.get("/model")
    def model(_: Annotated[str | None, Depends(user)]) -> Model:
        """Tell which model grades."""
        task, facts = service.model.task, service.model.folder.facts
        return Model(
            task=task.name, classes=list(task.classes), backbone=str(facts.get("backbone", "")),
            sha256=service.digest, retinai=__version__,
        )  # fmt: skip

    @routes.post("/grade", responses={413: {"description": "the request is too large"}})
    def grade(
        photograph: UploadFile, name: Annotated[str | None, Depends(user)], eye: Eye = "", operator: Operator = ""
    ) -> Answer:
        """Grade one photograph. What cannot be graded has an empty prediction and says why in `reasons`."""
        data = photograph.file.read()
        try:
            found = service.grade(data, eye, name or operator, "api")
        except UserError as error:
            raise HTTPException(503, str(error)) from error
        t, guideline = load_texts("en"), service.guideline
        advised = [guideline.grades[c] for c in found.classes] if guideline is not None else []
        return Answer(
            photograph_sha256=found.photograph, eye=found.eye, prediction=list(found.classes),
            probabilities=dict(found.probabilities), set=list(found.possible),
            quality=found.quality, action=found.action,
            reasons=[reason_text(reason, t) for reason in found.reasons],
            recommendation=max(advised, key=lambda one: one.urgency).texts["en"] if advised else "",
            model_sha256=service.digest, milliseconds=found.milliseconds,
        )  # fmt: skip

    return routes
