import pytest

from android_harness.runner.build import main


def test_an_abi_without_runner_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--abi", "armeabi-v7a"])
    assert caught.value.code == 2
    assert "arm64-v8a" in capsys.readouterr().err
