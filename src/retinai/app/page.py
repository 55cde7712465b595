"""The page itself, in Gradio: what it shows, and what happens when somebody presses a button."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from retinai.app import rendering
from retinai.app.results import EYES, EyeResult, Reason
from retinai.app.service import Service
from retinai.app.texts import LANGUAGES, Texts, choose_language, load_texts
from retinai.errors import UserError

_WAITING = 100  # requests that wait for their turn; more are told to come again
_SWEEP = (60, 600)  # seconds: every minute, uploads that nobody graded for ten minutes are removed
_KEEP_LANGUAGE = "(code) => { document.documentElement.lang = code; return code; }"
# The print-out opens in a tab of its own; whose eyes they are never leaves the browser.
_PRINT = """(html, reference) => {
  if (!html) return;
  const tab = window.open('', '_blank');
  tab.document.write(html);
  tab.document.close();
  if (reference.trim()) {
    tab.document.getElementById('reference').textContent = reference.trim();
    tab.document.getElementById('patient').hidden = false;
  }
}"""


class Page:
    """Builds the page and answers its events; it keeps nothing of one user that another could get.

    Args:
        service: Grades the uploads.
        language: What the page begins with where the browser prefers none of `LANGUAGES`.
        named: Whether users log in, and so are known by name.
    """

    def __init__(self, service: Service, language: str, named: bool) -> None:
        self.service = service
        self.language = language
        self.named = named
        self.megabytes = service.max_bytes // 2**20

    def build(self) -> gr.Blocks:
        """Return the page."""
        t = load_texts(self.language)
        with gr.Blocks(title=t("title"), analytics_enabled=False, delete_cache=_SWEEP) as blocks:
            banner = gr.HTML(_banner(t), elem_id="banner")
            names = [(load_texts(code)("language"), code) for code in LANGUAGES]
            language = gr.Radio(names, value=self.language, label="Language · Idioma · भाषा", elem_id="language")
            guide = gr.HTML(self._guide(t))
            with gr.Row():
                uploads = [gr.File(label=t("upload", eye=t(eye)), height=150, elem_id=f"upload-{eye}") for eye in EYES]
            with gr.Row():
                operator = gr.Textbox(label=t("operator"), elem_id="operator", visible=self._asks_name, max_length=100)
                reference = gr.Textbox(label=t("reference"), elem_id="reference", max_length=100)
            with gr.Row():
                heat = gr.Checkbox(label=t("heat"), elem_id="heat")
                outline = gr.Checkbox(label=t("outline"), elem_id="outline", visible=self.service.draws)
            with gr.Row():
                grade = gr.Button(t("grade"), variant="primary", elem_id="grade")
                printer = gr.Button(t("print"), interactive=False, elem_id="print")
            result = gr.HTML(elem_id="result")
            meaning = gr.HTML(rendering.meaning(t, self.service.model.task.classes))
            found = gr.State([])
            print_out = gr.Textbox(visible="hidden", elem_id="print-out")
            labels = [banner, guide, *uploads, operator, reference, heat, outline, grade, printer, meaning]
            shown = [result, print_out, printer]
            private: dict[str, Any] = {"api_visibility": "private"}
            grade.click(
                self.on_grade, [*uploads, language, operator, heat, outline], [*shown, found, *uploads],
                concurrency_limit=1, concurrency_id="grade", **private,
            )  # fmt: skip
            language.change(self.on_language, [language, found], [*labels, *shown], **private)
            language.change(None, language, None, js=_KEEP_LANGUAGE, **private)
            blocks.load(self.on_load, None, language, **private)
            printer.click(None, [print_out, reference], None, js=_PRINT, **private)
        blocks.queue(max_size=_WAITING, default_concurrency_limit=4)
        return blocks

    @property
    def _asks_name(self) -> bool:
        return self.service.audit is not None and not self.named

    def on_load(self, request: gr.Request) -> str:
        """Return the language that the browser prefers."""
        return choose_language(str(request.headers.get("accept-language", "")), self.language)

    def on_language(self, code: str, found: list[EyeResult]) -> list[Any]:
        """Return all that the page says in another language."""
        t = load_texts(code)
        uploads = [gr.File(label=t("upload", eye=t(eye))) for eye in EYES]
        texts = [gr.Textbox(label=t("operator")), gr.Textbox(label=t("reference"))]
        boxes = [gr.Checkbox(label=t("heat")), gr.Checkbox(label=t("outline"))]
        buttons = [gr.Button(t("grade")), gr.Button(t("print"))]
        meaning = rendering.meaning(t, self.service.model.task.classes)
        return [_banner(t), self._guide(t), *uploads, *texts, *boxes, *buttons, meaning, *self._shown(found, t)]

    def on_grade(
        self,
        right: str | None,
        left: str | None,
        code: str,
        operator: str,
        heat: bool,
        outline: bool,
        request: gr.Request,
    ) -> list[Any]:
        """Grade what was uploaded, and remove it; what was shown before is replaced, whosoever it was."""
        t = load_texts(code)
        given = [(eye, Path(path)) for eye, path in zip(EYES, (right, left), strict=True) if path]
        if not given:
            raise gr.Error(t("nothing"), print_exception=False)
        name = str(request.username or operator or "")
        try:
            found = [self._grade(path, eye, name, heat, outline) for eye, path in given]
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error
        return [*self._shown(found, t), found, None, None]

    def _grade(self, path: Path, eye: str, operator: str, heat: bool, outline: bool) -> EyeResult:
        try:
            data = path.read_bytes()
            path.unlink()
        except FileNotFoundError:
            return EyeResult(eye, "", (), {}, "recheck", (Reason("gone"),), 0)
        return self.service.grade(data, eye, operator, "page", explain=heat, outline=outline)

    def _shown(self, found: list[EyeResult], t: Texts) -> list[Any]:
        if not found:
            return ["", "", gr.Button(interactive=False)]
        html = rendering.results(found, self.service, t)
        return [html, rendering.printed(found, self.service, t), gr.Button(interactive=True)]

    def _guide(self, t: Texts) -> str:
        keeps = self.service.audit is not None and self.service.audit.photographs is not None
        return rendering.guide(t, self.megabytes, keeps)


def _banner(t: Texts) -> str:
    return f'<p class="banner" role="note" lang="{t.code}">{t("banner")}</p>'
