from pathlib import Path

from pumpwatch.alerting.i18n import LANGS
from pumpwatch.alerting.runbook import pages, write
from pumpwatch.domain.faults import FAULT_GROUP

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook"


def on_disk(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*.md")
    }


def test_every_code_has_a_page_in_every_language():
    written = pages()
    assert {f"{lang}/{code}.md" for lang in LANGS for code in FAULT_GROUP} < set(written)
    assert "異物絡まり" in written["ja/pump_ragging.md"]


def test_the_runbook_says_what_the_program_says():
    assert on_disk(RUNBOOK) == pages(), "run: python -m pumpwatch.alerting.runbook docs/runbook"


def test_a_page_of_a_code_that_is_no_more_goes_away(tmp_path: Path):
    write(tmp_path)
    (tmp_path / "en" / "old_code.md").write_text("gone", encoding="utf-8")
    write(tmp_path)
    assert on_disk(tmp_path) == pages()
