"""Files of installed packages."""

import re

import pytest

from lanewise.errors import UserError
from lanewise.models.pretrained.packages import packaged_file, packaged_files


def test_files_are_found_by_name_and_pattern():
    fonts = packaged_files("matplotlib", "DejaVuSans*.ttf")
    assert packaged_file("matplotlib", "DejaVuSans.ttf") in fonts
    assert all(path.is_file() for path in fonts)
    assert fonts == sorted(fonts)


@pytest.mark.parametrize("find", [packaged_file, packaged_files])
@pytest.mark.parametrize(
    ("package", "message"),
    [
        (
            "nothing-here",
            "package nothing-here is not installed; expected it for the accuracy study (make setup)",
        ),
        ("gensim", "package gensim has no file *.nothing; expected the version that lanewise names"),
    ],
)
def test_what_is_missing_is_named(find, package, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        find(package, "*.nothing")
