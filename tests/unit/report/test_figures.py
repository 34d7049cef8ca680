from device_bench.report.figures import key_figures, subject
from tests.unit.report import sample_reports as samples


def shown(figures: object) -> dict[str, str]:
    return {figure.label: figure.value.replace("\u00a0", " ") for figure in figures}  # type: ignore[attr-defined]


def test_the_chosen_variant_is_compared_with_the_baseline() -> None:
    phone = samples.physical()
    recipe = phone.recipes[0]
    found = shown(key_figures(phone, recipe))
    assert found == {
        "Speed-up": "4.32×", "File size": "44.0 kB", "Accuracy": "90.4 %", "First result": "5.73 ms"
    }  # fmt: skip
    notes = [figure.note for figure in key_figures(phone, recipe)]
    assert "−86\u00a0% against the baseline" in notes[1]
    assert "−1.3\u00a0points against the baseline" in notes[2]


def test_without_a_choice_the_baseline_stands_for_the_recipe() -> None:
    phone = samples.container()
    recipe = phone.recipes[1]
    about = subject(recipe)
    assert about is not None
    assert about.variant == recipe.baseline
    figures = key_figures(phone, recipe)
    assert [figure.label for figure in figures] == [
        "Median latency", "File size", "Accuracy", "First result"
    ]  # fmt: skip
    assert (figures[2].value, figures[2].note) == ("—", "the weights are random")


def test_where_time_is_not_latency_no_figure_is_a_time() -> None:
    phone = samples.emulated()
    found = shown(key_figures(phone, phone.recipes[0]))
    assert list(found) == ["File size", "Accuracy", "Same outputs as the host", "Peak memory"]
    assert found["Same outputs as the host"] == "bit-identical"


def test_a_variant_that_failed_has_no_figures() -> None:
    phone = samples.physical()
    recipe = samples.recipe(
        samples.CNN[:1],
        chosen=None,
        baseline="dead",
        variants=(samples.failed("dead", samples.CNN[0]),),
    )
    assert key_figures(phone, recipe) == ()


def test_accuracy_of_the_host_says_that_it_is_not_the_phones() -> None:
    phone = samples.physical()
    recipe = phone.recipes[0]
    first = recipe.variants[0].model_copy(
        update={"accuracy_phone": None, "accuracy_phone_reason": "outputs were not fetched"}
    )
    answer = recipe.answer.model_copy(update={"chosen": None})
    alone = recipe.model_copy(update={"variants": (first,), "answer": answer})
    assert "on the host, not the phone" in key_figures(phone, alone)[2].note
