import pytest

from android_harness.virtual.simulated.shell import ShellRequest, parse_request


@pytest.mark.parametrize(
    ("service", "request_"),
    [
        ("shell:ls", ShellRequest(command="ls", framed=False, raw=False)),
        ("shell,v2,raw:ls a:b,c", ShellRequest(command="ls a:b,c", framed=True, raw=False)),
        ("shell,v2,TERM=xterm,pty:", ShellRequest(command="", framed=True, raw=False)),
        ("exec:cat f", ShellRequest(command="cat f", framed=False, raw=True)),
    ],
)
def test_services_that_run_commands(service: str, request_: ShellRequest) -> None:
    assert parse_request(service) == request_


@pytest.mark.parametrize("service", ["sync:", "shell", "", "tcp:80", "shells:x", "host:version"])
def test_services_that_do_not(service: str) -> None:
    assert parse_request(service) is None
