"""A study file as its plan: every cell, and every stage once."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from response_tuning.evaluation.registry import evaluations
from response_tuning.evaluation.shared.identity import result_settings
from response_tuning.study.definition.read_study import Study
from response_tuning.study.definition.study_file import AXES, EvaluationChoice
from response_tuning.study.planning.cells import Cell, cells_of, data_name
from response_tuning.study.planning.collected import Collected, Made, slug
from response_tuning.study.planning.commands import validated
from response_tuning.study.planning.content import files_in, key_of, model_identity
from response_tuning.study.planning.data_stages import instructions_kept, training_set
from response_tuning.study.planning.known import unknown_names
from response_tuning.study.planning.methods import StudyMethod, study_methods
from response_tuning.study.planning.plan import STUDY, MeasuredCell, Stage, StudyPlan
from response_tuning.support.commands import typed_options
from response_tuning.support.configuration import flatten
from response_tuning.support.errors import UserError
from response_tuning.training.training_config import CHANGES_NO_RUN, TrainingConfig

__all__ = ["expand", "plan_of"]

_TRAINED_PROOFS = ("adapter", "model")
_MADE_PROOFS = ("config.yaml", "rules.yaml", "demonstrations.jsonl")
_MEASURED_PROOFS = ("metrics.json",)
_TWIN = "twin"
_PLACEHOLDER = "model"
_KEY_DIGITS = 6
_OPTION = re.compile(r"--([a-z][a-z-]*)")


def plan_of(study: Study) -> StudyPlan:
    """The plan of a study that was read.

    Raises:
        UserError: values of the study do not fit; the message names each by its line.
    """
    faults = list(unknown_names(study.file))
    if faults:
        raise study.error(faults)
    return expand(study)


def expand(study: Study) -> StudyPlan:
    """The plan of a study whose axes, methods and evaluations exist.

    Raises:
        UserError: as ``plan_of``.
    """
    return _Expansion(study).plan()


class _Expansion:
    """Collects the stages of every cell."""

    def __init__(self, study: Study) -> None:
        self._study, self._file = study, study.file
        self._methods = study_methods()
        self._collected = Collected()
        self._limit = study.overrides.limit
        self._left_out: list[str] = []
        self._known_settings: dict[str, tuple[dict[str, Any], list[tuple[str, str]]]] = {}
        self._choices = [choice for choice in self._file.evaluations if self._can_run(choice)]

    def plan(self) -> StudyPlan:
        """Every cell and stage.

        Raises:
            UserError: values do not fit.
        """
        cells = cells_of(self._file, self._methods)
        if not cells:
            self._collected.fault(("exclude",), "no cell is left.")
        self._cells = cells
        self._runs = [self._run(cell) for cell in cells]
        measured = [self._measured(position) for position in range(len(cells))]
        if self._collected.faults:
            raise self._study.error(self._collected.faults)
        return StudyPlan(
            name=self._study.name,
            question=self._file.question,
            notes=self._file.notes,
            varied=[
                name
                for name in self._file.axes
                if len({repr(cell.arm[name]) for cell in cells if name in cell.arm}) > 1
            ],
            evaluations={choice.title: choice.name for choice in self._choices},
            cells=measured,
            stages=self._collected.stages,
            left_out=self._left_out,
            report=self._file.report.model_copy(update={"baseline": self._baseline}),
        )

    @property
    def _baseline(self) -> dict[str, Any]:
        """The values that make an arm a baseline: those of the file, or the method it, rt, or the first."""
        if self._file.report.baseline:
            return self._file.report.baseline
        methods = [cell.axes["method"] for cell in self._cells]
        return {"method": next(name for name in ("it", "rt", *methods) if name in methods)}

    def _can_run(self, choice: EvaluationChoice) -> bool:
        """Whether an evaluation has the judge that it requires."""
        evaluation = evaluations()[choice.name]
        has_judge = choice.options.get("judge") or self._study.overrides.judge
        if evaluation.judge == "required" and not has_judge:
            self._left_out.append(f"{choice.title}: it needs a judge (--judge PROVIDER/NAME).")
            return False
        return True

    def _run(self, cell: Cell) -> Made:
        """How the cell's model is named in a command, and the stages that make it."""
        method = self._methods[cell.axes["method"]]
        model = str(cell.axes["model"])
        if not method.command:
            return Made(model, model_identity(model))
        if not method.is_trained:
            return self._made_run(cell, method, model)
        return self._trained(cell, method, model)

    def _made_run(self, cell: Cell, method: StudyMethod, model: str) -> Made:
        options = dict(method.options) | ({"format": cell.axes["format"]} if "format" in cell.axes else {})
        words = [method.command, model, *typed_options(options)]
        stage = self._collected.add(
            "run",
            "runs",
            slug(cell.axes["method"], model),
            words,
            content={"command": method.command, "options": options, "model": model_identity(model)},
            proofs=_MADE_PROOFS,
        )
        return Made(f"{STUDY}/{stage.name}", stage.key, (stage.key,))

    def _trained(self, cell: Cell, method: StudyMethod, model: str) -> Made:
        data = training_set(cell, self._file, self._collected, self._limit)
        options = {**self._training_options(cell), **method.options, "model": model, "seed": cell.seed or 0}
        keep, shuffles = instructions_kept(cell, self._collected)
        if keep is not None or shuffles:
            options["method"] = "mixed"
        elif cell.axes.get("instructions") == "all":
            options["method"] = "it"
        if method.needs == "sftmix":
            reference = self._training(
                {**options, "keep_adapter_every": options.pop("keep_adapter_every", 10)}, data, cell
            )
            options["sftmix_from"] = f"{STUDY}/{reference.name}"
            data = Made(data.spec, data.content, (*data.needs, reference.key))
        stage = self._training(options, data, cell)
        return Made(f"{STUDY}/{stage.name}", stage.key, (stage.key,))

    def _training_options(self, cell: Cell) -> dict[str, Any]:
        of_axes = {name: value for name, value in cell.axes.items() if name not in AXES}
        if "format" in cell.axes:
            of_axes["format"] = cell.axes["format"]
        if "prefix" in cell.axes:
            of_axes["rt_prefix"] = cell.axes["prefix"]
        return {**self._file.training, **of_axes}

    def _training(self, options: Mapping[str, Any], data: Made, cell: Cell) -> Stage:
        content: dict[str, Any] = {"train": {}, "data": data.content, "model": model_identity(options["model"])}
        gpus = 1
        try:
            config = TrainingConfig(output="run", data=data.spec, **options)
            settings = flatten(config, mode="json")
            gpus = max(1, config.parallel.gpus)
            kept = {name: value for name, value in settings.items() if name not in CHANGES_NO_RUN and name != "model"}
            content["train"] = {**kept, "keep_adapter_every": settings["keep_adapter_every"]}
            content["held_out"] = (
                sorted(files_in(settings["held_out"] and [settings["held_out"]])) or settings["held_out"]
            )
        except UserError as error:
            for reason in str(error).splitlines():
                self._collected.fault(self._place_of(reason), reason)
        words = ["train", *typed_options({**options, "data": data.spec})]
        name = slug(
            options["method"] if cell.axes["method"] == "rt" else cell.axes["method"],
            data_name(cell.axes.get("data")),
            f"seed{cell.seed}",
        )
        return self._collected.add(
            "run",
            "runs",
            name,
            words,
            content=content,
            needs=data.needs,
            proofs=_TRAINED_PROOFS,
            gpus=gpus,
            training={**options, "data": data.spec},
        )

    def _place_of(self, reason: str) -> Sequence[str | int]:
        """Where the option is set that a message of ``rt train`` names."""
        for found in _OPTION.findall(reason):
            name = found.replace("-", "_")
            axis = "prefix" if name == "rt_prefix" else name
            if axis in self._file.axes:
                values = self._file.axes[axis]
                wrong = [position for position, value in enumerate(values) if repr(value) in reason]
                return ("axes", axis, *wrong[:1])
            if name in self._file.training:
                return ("training", name)
        return ("training",)

    def _measured(self, position: int) -> MeasuredCell:
        cell, run = self._cells[position], self._runs[position]
        stages = [*run.needs]
        folders: dict[str, str] = {}
        for number, choice in enumerate(self._choices):
            if any(axis in cell.arm and cell.arm[axis] not in values for axis, values in choice.only.items()):
                continue
            stage = self._evaluation(number, choice, cell, run)
            if stage is not None:
                folders[choice.title] = stage.name
                stages += [*stage.needs, stage.key]
        return MeasuredCell(
            arm=cell.arm,
            seed=cell.seed,
            run=run.spec.removeprefix(f"{STUDY}/") if run.needs else "",
            stages=self._in_order(stages),
            evaluations=folders,
        )

    def _in_order(self, keys: Sequence[str]) -> list[str]:
        """Stages with all that they need, each after it."""
        ordered: dict[str, None] = {}
        for key in keys:
            for needed in self._in_order(self._collected.stages[key].needs):
                ordered[needed] = None
            ordered[key] = None
        return [*ordered]

    def _evaluation(self, number: int, choice: EvaluationChoice, cell: Cell, run: Made) -> Stage | None:
        evaluation = evaluations()[choice.name]
        fields = evaluation.config.model_fields
        options = self._options_of(choice, fields)
        needs = [*run.needs]
        if options.get("reference") == _TWIN:
            twin = self._twin(cell)
            if twin is None or self._runs[twin].content == run.content:
                return None
            answers = self._answers(choice, options, self._runs[twin])
            options["reference"] = f"{STUDY}/{answers.name}/model_outputs.json"
            needs.append(answers.key)
        if not run.needs and "format" in cell.axes and "format" in fields:
            options.setdefault("format", cell.axes["format"])
        return self._evaluated(choice, options, run, needs, ("evaluations", number, choice.name))

    def _options_of(self, choice: EvaluationChoice, fields: Mapping[str, Any]) -> dict[str, Any]:
        options = choice.options
        if "judge" in fields and self._study.overrides.judge:
            options["judge"] = self._study.overrides.judge
        if "max_examples" in fields and self._limit is not None:
            options["max_examples"] = min(options.get("max_examples") or self._limit, self._limit)
        return options

    def _twin(self, cell: Cell) -> int | None:
        """The cell of the baseline that is equal in all else, with the same seed if it has one."""
        wanted = {**cell.arm, **self._baseline}
        for position, other in enumerate(self._cells):
            shared = wanted.keys() & other.arm.keys()
            if all(wanted[name] == other.arm[name] for name in shared) and other.seed in (cell.seed, None):
                return position
        return None

    def _answers(self, choice: EvaluationChoice, options: Mapping[str, Any], run: Made) -> Stage:
        """The responses of a reference, without a judge."""
        alone = {name: value for name, value in options.items() if name not in ("reference", "judge")}
        return self._evaluated(choice, alone, run, [*run.needs], ("evaluations",), label=f"{choice.title}-responses")

    def _evaluated(
        self,
        choice: EvaluationChoice,
        options: Mapping[str, Any],
        run: Made,
        needs: Sequence[str],
        place: Sequence[str | int],
        *,
        label: str = "",
    ) -> Stage:
        settings, files = self._settings(choice, options, place)
        command = ["probe"] if choice.name == "probe" else ["eval", choice.name]
        words = [*command, run.spec, *typed_options(_without_defaults(options))]
        content = {"evaluation": choice.name, "settings": settings, "run": run.content, "files": files}
        folder = f"{run.spec}/evaluations".removeprefix(f"{STUDY}/")
        if not run.needs:
            folder = f"runs/base-{slug(run.spec)}-{key_of(run.content)[:_KEY_DIGITS]}/evaluations"
        return self._collected.add(
            "evaluation",
            folder,
            slug(label or choice.title),
            words,
            content=content,
            needs=needs,
            # The same measurement has one name in every run, so that rt compare finds it.
            mark=key_of(settings)[:_KEY_DIGITS] if options else "",
            proofs=_MEASURED_PROOFS,
            gpus=1,
        )

    def _settings(
        self, choice: EvaluationChoice, options: Mapping[str, Any], place: Sequence[str | int]
    ) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """What a result depends on, apart from the model: settings, and the content of the files that they name."""
        cached = repr((choice.name, options))
        if cached not in self._known_settings:
            settings: dict[str, Any] = {}
            # The dtype that auto means here is no part of the key: another machine would start from nothing.
            config = evaluations()[choice.name].config
            dtype = {"dtype": options.get("dtype", "auto")} if "dtype" in config.model_fields else {}
            fixed = {name: "float32" if value == "auto" else value for name, value in dtype.items()}
            try:
                chosen = validated(config, {**options, **fixed, "model": _PLACEHOLDER}).model_dump(mode="json")
                settings = result_settings({**chosen, **dtype, "model": _PLACEHOLDER})
            except ValueError as error:
                for reason in str(error).splitlines():
                    named = [name.replace("-", "_") for name in _OPTION.findall(reason)]
                    self._collected.fault((*place, *named[:1]), f"{choice.title}: {reason}")
            self._known_settings[cached] = settings, sorted(files_in(settings))
        return self._known_settings[cached]


def _without_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as they are typed; a flag that is off needs no word."""
    return {name: value for name, value in options.items() if value is not False}
