"""The phone's scripts, run by this host's shell over a small copy of the phone's files."""

import subprocess
from pathlib import Path

import pytest

import android_harness.virtual

GUEST = Path(android_harness.virtual.__file__).parent / "guest"
PLACES = ("/system/build.prop", "/odm/etc/build.prop", "/dev/props", "/sys/class", "/proc")


@pytest.fixture
def phone(tmp_path: Path) -> Path:
    """A folder with the phone's files; its scripts are in bin/ and know no other place."""
    for folder in ("bin", "system", "odm/etc", "dev/props", "sys/class", "proc"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "system/build.prop").write_text(
        "ro.product.model=Virtual Phone\nro.serialno=image\nro.odd=a=b\nro.empty=\n"
    )
    (tmp_path / "odm/etc/build.prop").write_text("ro.serialno=own\n")
    for script in ("getprop", "setprop", "dumpsys"):
        text = (GUEST / f"{script}.sh").read_text().replace("#!/system/bin/sh", "#!/bin/sh")
        for place in PLACES:
            text = text.replace(place, f"{tmp_path}{place}")
        (tmp_path / "bin" / script).write_text(text)
        (tmp_path / "bin" / script).chmod(0o755)
    return tmp_path


def run(phone: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{phone / 'bin'}:/usr/bin:/bin", "LC_ALL": "C"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=20
    )


def out(phone: Path, *command: str) -> str:
    done = run(phone, *command)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (("ro.product.model",), "Virtual Phone"),
        (("ro.serialno",), "own"),
        (("ro.odd",), "a=b"),
        (("no.such",), ""),
        (("no.such", "default"), "default"),
    ],
)
def test_getprop_prints_one_value(phone: Path, arguments: tuple[str, ...], value: str) -> None:
    assert out(phone, "getprop", *arguments) == f"{value}\n"


def test_getprop_lists_all_in_androids_form(phone: Path) -> None:
    out(phone, "setprop", "debug.mine", "1 2")
    lines = out(phone, "getprop").splitlines()
    assert "[debug.mine]: [1 2]" in lines
    assert "[ro.odd]: [a=b]" in lines
    assert "[ro.empty]: []" in lines
    assert lines == sorted(lines)


def test_setprop_lets_the_shell_user_set_debug_only(phone: Path) -> None:
    refused = run(phone, "setprop", "sys.boot_completed", "0")
    assert refused.returncode == 1
    assert "Failed to set property 'sys.boot_completed' to '0'." in refused.stderr
    out(phone, "setprop", "debug.x", "first")
    out(phone, "setprop", "debug.x", "second")
    assert out(phone, "getprop", "debug.x") == "second\n"


def test_setprop_lets_root_set_ro_once(phone: Path) -> None:
    (phone / "dev/props/.root").touch()  # init's: writable by root alone
    out(phone, "setprop", "ro.new", "1")
    assert run(phone, "setprop", "ro.new", "2").returncode == 1
    assert run(phone, "setprop", "ro.serialno", "2").returncode == 1
    assert out(phone, "getprop", "ro.new") == "1\n"


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "a/b"])
def test_setprop_refuses_names_that_are_none(phone: Path, name: str) -> None:
    (phone / "dev/props/.root").touch()
    assert run(phone, "setprop", name, "1").returncode == 1


def battery(phone: Path, **values: str) -> None:
    folder = phone / "sys/class/power_supply/battery"
    folder.mkdir(parents=True)
    for name, value in values.items():
        (folder / name).write_text(f"{value}\n")


def test_dumpsys_battery_shows_the_kernels_values_in_androids_units(phone: Path) -> None:
    battery(
        phone,
        status="Charging",
        health="Good",
        capacity="42",
        voltage_now="3912345",
        temp="305",
        charge_counter="1700000",
        technology="Li-ion",
    )
    usb = phone / "sys/class/power_supply/usb"
    usb.mkdir()
    (usb / "online").write_text("1\n")
    lines = out(phone, "dumpsys", "battery").splitlines()
    assert lines[0] == "Current Battery Service state:"
    assert {
        "  USB powered: true",
        "  AC powered: false",
        "  Charge counter: 1700000",
        "  status: 2",
        "  health: 2",
        "  level: 42",
        "  scale: 100",
        "  voltage: 3912",
        "  temperature: 305",
        "  technology: Li-ion",
    } <= set(lines)


def test_dumpsys_battery_leaves_out_what_the_kernel_does_not_know(phone: Path) -> None:
    battery(phone, status="Discharging", capacity="5")
    text = out(phone, "dumpsys", "battery")
    assert "  level: 5\n" in text
    assert "temperature" not in text
    assert "\n  voltage:" not in text


def zone(phone: Path, number: int, kind: str, millidegrees: int) -> None:
    folder = phone / f"sys/class/thermal/thermal_zone{number}"
    folder.mkdir(parents=True)
    (folder / "type").write_text(f"{kind}\n")
    (folder / "temp").write_text(f"{millidegrees}\n")


@pytest.mark.parametrize(
    ("skin", "status"), [(39_999, 0), (40_000, 1), (44_000, 2), (46_050, 3), (60_000, 6)]
)
def test_dumpsys_thermalservice_judges_by_the_skin(phone: Path, skin: int, status: int) -> None:
    zone(phone, 0, "cpu-0-0", 71_250)
    zone(phone, 1, "skin", skin)
    text = out(phone, "dumpsys", "thermalservice")
    assert f"Thermal Status: {status}\n" in text
    hal = text.partition("Current temperatures from HAL:\n")[2]
    assert "\tTemperature{mValue=71.250, mType=0, mName=cpu-0-0, mStatus=0}\n" in hal
    expected = f"mValue={skin // 1000}.{skin % 1000:03d}, mType=3, mName=skin, mStatus={status}"
    assert f"\tTemperature{{{expected}}}\n" in hal


def test_dumpsys_meminfo_groups_thousands(phone: Path) -> None:
    (phone / "proc/meminfo").write_text(
        "MemTotal: 1234567 kB\nMemFree: 5 kB\nMemAvailable: 1000 kB\nCached: 4321 kB\n"
    )
    (phone / "proc/uptime").write_text("12.34 5.00\n")
    text = out(phone, "dumpsys", "meminfo")
    assert "Uptime: 12340 Realtime: 12340\n" in text
    assert "Total RAM: 1,234,567K (status normal)\n" in text
    assert "Free RAM: 1,000K (0K cached pss + 4,321K cached kernel + 5K free)\n" in text
    assert "Used RAM: 1,233,567K\n" in text


def test_dumpsys_meminfo_of_one_process(phone: Path) -> None:
    folder = phone / "proc/77"
    folder.mkdir()
    (folder / "comm").write_text("runner\n")
    (folder / "smaps_rollup").write_text("Rss: 900 kB\nPss: 800 kB\nSwap: 7 kB\n")
    (phone / "proc/uptime").write_text("1.00 1.00\n")
    text = out(phone, "dumpsys", "meminfo", "77")
    assert "** MEMINFO in pid 77 [runner] **" in text
    assert "TOTAL PSS: 800            TOTAL RSS: 900       TOTAL SWAP (KB): 7" in text


def test_dumpsys_cpuinfo_shows_the_load(phone: Path) -> None:
    (phone / "proc/loadavg").write_text("0.50 0.25 0.10 1/70 99\n")
    (phone / "proc/stat").write_text("cpu 20 0 10 70 0 0 0\n")
    (phone / "proc/uptime").write_text("1.00 1.00\n")
    text = out(phone, "dumpsys", "cpuinfo")
    assert text.startswith("Load: 0.50 / 0.25 / 0.10\n")
    assert "30% TOTAL: 20% user + 10% kernel\n" in text


def test_unknown_service_is_refused_as_android_does(phone: Path) -> None:
    done = run(phone, "dumpsys", "window")
    assert (done.returncode, done.stdout) == (20, "")
    assert done.stderr == "Can't find service: window\n"


def test_scripts_are_plain_posix_shell(phone: Path) -> None:
    for script in GUEST.iterdir():
        assert run(phone, "sh", "-n", str(script)).stderr == ""
