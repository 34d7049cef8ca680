from device_bench.progress import shown


def test_lines_where_stderr_is_no_terminal(capsys):
    with shown() as progress:
        progress.step("build", "train", 0, 2)
        progress.step("build", "train", 0, 2)
        progress.step("build", "done", 2, 2)
        progress.line("said")
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["build [0/2] train", "build [2/2] done", "said"]


def test_time_left_belongs_to_the_step(capsys):
    with shown() as progress:
        progress.step("build", "train", 1, 2)
        progress.step("phone", "block", 1, 4)
    assert all("s left)" in line for line in capsys.readouterr().err.splitlines())


def test_quiet_says_nothing(capsys):
    with shown(quiet=True) as progress:
        progress.step("build", "train", 0, 2)
        progress.line("said")
    assert capsys.readouterr().err == ""
