"""What the agent says on standard error."""

import pytest

from oomsayer.agent.journal import Journal, Level


def test_a_name_can_neither_steer_a_terminal_nor_begin_another_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Journal().info("killed: a\rb\x1b[2J\x9bc\u2028d\nforged \udcff é")
    said = capsys.readouterr().err
    assert said.endswith(r" INFO killed: a\x0db\x1b[2J\x9bc\u{2028}d\x0aforged \u{dcff} é" + "\n")
    assert said.count("\n") == 1


def test_what_matters_less_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    Journal(Level.WARNING).info("all is well")
    assert capsys.readouterr().err == ""
