from argparse import ArgumentParser, ArgumentTypeError

import pytest

from oomsayer.api.flags import address, flag, one_of, seconds


def parsed(*words: str) -> object:
    parser = ArgumentParser()
    flag(parser, "report-size", "BYTES", int, "how much", default="7")
    return parser.parse_args(words).report_size


def test_a_flag_comes_from_the_command_line_then_the_environment_then_its_default(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parsed() == 7
    monkeypatch.setenv("OOMSAYER_REPORT_SIZE", "")
    assert parsed() == 7
    monkeypatch.setenv("OOMSAYER_REPORT_SIZE", "8")
    assert parsed() == 8
    assert parsed("--report-size=9") == 9
    monkeypatch.setenv("OOMSAYER_REPORT_SIZE", "much")
    with pytest.raises(SystemExit):
        parsed()
    assert "--report-size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "host_and_port"),
    [(":9464", ("", 9464)), ("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:80", ("::1", 80))],
)
def test_an_address(text: str, host_and_port: tuple[str, int]) -> None:
    assert address(text) == host_and_port


@pytest.mark.parametrize("text", ["", "9464", "host:", ":65536", ":-1", "host:http", ":\u00b2"])
def test_no_address(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"is not \[HOST\]:PORT"):
        address(text)


def test_a_time_is_taken_within_its_bounds_alone() -> None:
    convert = seconds(0.5, 60)
    assert [convert(text) for text in ("0.5", "2", "6e1")] == [0.5, 2.0, 60.0]
    for text in ("0.4", "61", "nan", "inf", "soon", ""):
        with pytest.raises(ArgumentTypeError, match=r"is not a number of seconds from 0\.5 to 60"):
            convert(text)


def test_one_of_some_words() -> None:
    convert = one_of("debug", "info", "error")
    assert convert("info") == "info"
    with pytest.raises(ArgumentTypeError, match="'loud' is not debug, info or error"):
        convert("loud")
