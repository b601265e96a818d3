from __future__ import annotations

import json
import os
import subprocess
import sys

from launch.wrappers.hidden_arguments import hiding

TELLS = """
import json, os, sys
shown = open("/proc/self/cmdline", encoding="utf-8").read().split(chr(0))[:-1]
print(json.dumps({"given": sys.argv[1:], "shown": shown[-len(sys.argv[1:]):], "pid": os.getpid()}))
"""
SECRET = "sk-canary-🐚-" * 500


def run(*command: str, **secrets: str) -> subprocess.Popen[str]:
    environment = {**os.environ, **secrets}
    argv = hiding(command, secrets)
    return subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_program_gets_hidden_arguments_that_its_command_line_does_not_show() -> None:
    arguments = ("a", "$CONCH_ONE", "$CONCH_ON", "$CONCH_ONE2", "x$CONCH_ONE", "$CONCH_TWO", "")
    with run(sys.executable, "-c", TELLS, *arguments, CONCH_ONE=SECRET, CONCH_TWO="") as process:
        told = json.loads(process.communicate()[0])
    assert told["given"] == ["a", SECRET, "$CONCH_ON", "$CONCH_ONE2", "x$CONCH_ONE", "", ""]
    assert told["shown"] == list(arguments)
    assert told["pid"] == process.pid


def test_the_program_has_no_other_child_and_its_status_is_the_commands() -> None:
    children = "print(open(f'/proc/self/task/{__import__(\"os\").getpid()}/children').read(), end='')"
    with run(sys.executable, "-c", children, "$CONCH_ONE", CONCH_ONE="1") as process:
        assert process.communicate() == ("", "")
    with run("/bin/sh", "-c", "exit $0", "$CONCH_ONE", CONCH_ONE="7") as process:
        assert process.wait() == 7


def test_a_command_that_cannot_run_says_so() -> None:
    with run("/no/such/program", "$CONCH_ONE", CONCH_ONE="1") as process:
        assert process.communicate()[1] == "/no/such/program: No such file or directory\n"
    assert process.returncode == 127


def test_without_secrets_a_command_is_left_as_it_is() -> None:
    assert hiding(("a", "$B"), {}) == ("a", "$B")
