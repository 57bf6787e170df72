"""Pages that are made from the code say what the code says."""

from pathlib import Path

from lanewise.configuration_page import page

ROOT = Path(__file__).parent.parent


def test_configuration_page_is_current():
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page()


def test_readme_names_the_two_targets():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make report" in text
    assert "make test" in text
