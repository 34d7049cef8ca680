import pytest
from hypothesis import given
from hypothesis import strategies as st

from android_harness.errors import ParseError
from android_harness.parse.cpu import parse_cpu_files, parse_cpu_list, parse_cpuinfo

CPU = "/sys/devices/system/cpu"


def core(number: int, part: str) -> str:
    return (
        f"processor\t: {number}\nBogoMIPS\t: 38.40\nFeatures\t: fp asimd asimddp"
        f"{' i8mm' if part == '0xd4e' else ''}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU part\t: {part}\nCPU revision\t: 1\n\n"
    )


def test_arm64_with_two_kinds_of_cores() -> None:
    info = parse_cpuinfo(core(0, "0xd05") + core(1, "0xd05") + core(2, "0xd4e"))
    assert info.processors == (0, 1, 2)
    assert info.parts == ((0x41, 0xD05), (0x41, 0xD05), (0x41, 0xD4E))
    assert info.features == {"fp", "asimd", "asimddp"}  # what every core has
    assert info.notes == ()


def test_an_old_kernel_describes_all_cores_once() -> None:
    text = (
        "Processor : AArch64 Processor rev 4 (aarch64)\nprocessor : 0\nprocessor : 1\n"
        "Features : fp asimd\nCPU implementer : 0x41\nCPU part : 0xd03\nHardware : Some SoC\n"
    )
    info = parse_cpuinfo(text)
    assert info.processors == (0, 1)
    assert len(info.parts) == 1
    assert info.hardware == "Some SoC"
    assert info.notes


def test_x86() -> None:
    info = parse_cpuinfo("processor\t: 0\nmodel name\t: Some CPU @ 2GHz\nflags\t\t: fpu sse2\n")
    assert (info.model_name, info.parts, info.features) == ("Some CPU @ 2GHz", (), {"fpu", "sse2"})


@pytest.mark.parametrize("text", ["", "cat: Permission denied\n", "processor: AArch64\n"])
def test_no_processor_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse_cpuinfo(text)


def test_clusters_of_nine_cores_from_policies() -> None:
    files = {f"{CPU}/possible": "0-8\n", f"{CPU}/online": "0-3,8\n"}
    for first, last, khz in ((0, 3, 1_704_000), (4, 7, 2_367_000), (8, 8, 2_914_000)):
        policy = f"{CPU}/cpufreq/policy{first}"
        files[f"{policy}/related_cpus"] = " ".join(map(str, range(first, last + 1))) + "\n"
        files[f"{policy}/cpuinfo_max_freq"] = f"{khz}\n"
    cpus = parse_cpu_files(files)
    assert cpus.clusters == ((0, 1, 2, 3), (4, 5, 6, 7), (8,))
    assert [c.number for c in cpus.cores if c.online] == [0, 1, 2, 3, 8]
    assert cpus.notes == ()


def test_capacity_goes_before_clock() -> None:
    files = {f"{CPU}/possible": "0-1"}
    for number, khz, capacity in ((0, 2_000_000, 300), (1, 1_900_000, 1024)):
        files[f"{CPU}/cpu{number}/cpufreq/cpuinfo_max_freq"] = str(khz)
        files[f"{CPU}/cpu{number}/cpu_capacity"] = str(capacity)
    assert parse_cpu_files(files).clusters == ((0,), (1,))


def test_what_sysfs_does_not_tell_is_none() -> None:
    cpus = parse_cpu_files({f"{CPU}/possible": "0", f"{CPU}/cpu0/cpufreq/cpuinfo_max_freq": "0"})
    assert cpus.cores[0].max_khz is None
    assert cpus.cores[0].online is None
    assert cpus.clusters == ()
    assert cpus.notes


def test_without_a_list_of_cores_it_is_refused() -> None:
    with pytest.raises(ParseError):
        parse_cpu_files({})


@given(st.sets(st.integers(0, 200), min_size=1))
def test_lists_of_cores(numbers: set[int]) -> None:
    text = ",".join(str(n) for n in sorted(numbers))
    assert set(parse_cpu_list(text)) == numbers


def test_ranges_of_cores() -> None:
    assert parse_cpu_list("0-3,7,9-10") == (0, 1, 2, 3, 7, 9, 10)


@pytest.mark.parametrize("text", ["", "a", "1-", "0-3;5", "0 1", "-1", "0-99999999"])
def test_what_is_no_list_of_cores(text: str) -> None:
    with pytest.raises(ParseError):
        parse_cpu_list(text)
