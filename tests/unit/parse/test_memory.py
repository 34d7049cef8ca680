import pytest

from android_harness.errors import ParseError
from android_harness.parse.memory import parse_available_kb, parse_meminfo, parse_status

TABLE = """Applications Memory Usage (in Kilobytes):
Uptime: 91 Realtime: 91

** MEMINFO in pid 4321 [org.example.app] **
                   Pss  Private  Private  SwapPss      Rss     Heap     Heap     Heap
                 Total    Dirty    Clean    Dirty    Total     Size    Alloc     Free
                ------   ------   ------   ------   ------   ------   ------   ------
  Native Heap    20100    20000        8     1200    22000    40000    30000    10000
  Dalvik Heap     3100     3000        0       10     4100
      .so mmap      77       12       60        2    12345
        TOTAL    23277    23012       68     1212    38445    40000    30000    10000
 App Summary
"""
OLD = """** MEMINFO in pid 7 [a] **
                   Pss  Private  Private  Swapped     Heap     Heap     Heap
                 Total    Dirty    Clean    Dirty     Size    Alloc     Free
                ------   ------   ------   ------   ------   ------   ------
  Native Heap     5000     4900        0        0     8000     7000     1000
        TOTAL     5000     4900        0        0     8000     7000     1000
"""


def test_the_status_of_a_process() -> None:
    memory = parse_status(
        "Name:\trunner\nVmHWM:\t  9000 kB\nVmRSS:\t  8000 kB\nRssAnon:\t 5000 kB\n"
        "RssFile:\t 3000 kB\nVmSwap:\t 0 kB\n"
    )
    assert (memory.rss_kb, memory.peak_rss_kb, memory.swap_kb) == (8000, 9000, 0)
    assert (memory.anonymous_kb, memory.file_kb) == (5000, 3000)


def test_a_kernel_thread_has_no_memory_of_its_own() -> None:
    assert parse_status("Name:\tkworker\nState:\tI (idle)\n").rss_kb is None


def test_other_text_is_no_status() -> None:
    with pytest.raises(ParseError):
        parse_status("cat: /proc/1/status: Permission denied")


def test_the_table_is_read_by_its_headings() -> None:
    meminfo = parse_meminfo(TABLE)
    assert (meminfo.pid, meminfo.process) == (4321, "org.example.app")
    assert meminfo.total_pss_kb == 23_277
    assert meminfo.rows["Native Heap"]["Rss Total"] == 22_000
    assert meminfo.rows["Native Heap"]["Heap Free"] == 10_000
    assert meminfo.rows[".so mmap"]["Pss Total"] == 77
    assert "Heap Size" not in meminfo.rows["Dalvik Heap"]


def test_an_older_table_has_other_columns() -> None:
    meminfo = parse_meminfo(OLD)
    assert meminfo.rows["TOTAL"]["Heap Size"] == 8000
    assert "Rss Total" not in meminfo.rows["TOTAL"]


def test_a_table_that_was_cut_has_no_total() -> None:
    assert parse_meminfo(TABLE.partition("        TOTAL")[0]).total_pss_kb is None


@pytest.mark.parametrize("text", ["", "No process found for: 1\n", "** MEMINFO in pid 1 [a] **\n"])
def test_other_text_is_no_meminfo(text: str) -> None:
    with pytest.raises(ParseError):
        parse_meminfo(text)


def test_available_memory() -> None:
    assert parse_available_kb("MemTotal: 8000 kB\nMemAvailable:  5000 kB\n") == 5000
    assert parse_available_kb("MemTotal: 8000 kB\nMemFree: 10 kB\n") is None
    with pytest.raises(ParseError):
        parse_available_kb("")
