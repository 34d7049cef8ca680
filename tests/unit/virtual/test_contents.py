from android_harness.virtual import contents


def test_no_command_is_linked_twice() -> None:
    commands = [*contents.TOYBOX, *contents.BUSYBOX, "getprop", "setprop", "dumpsys", "sh", "mksh"]
    assert len(commands) == len(set(commands))


def test_shell_user_has_androids_number_and_groups() -> None:
    assert "shell:x:2000:2000::/:/bin/sh\n" in contents.PASSWD
    groups = [line for line in contents.GROUP.splitlines() if line.endswith(":shell")]
    assert {int(line.split(":")[2]) for line in groups} == {1007, 1011, 1015, 3002, 3003, 3009}


def test_properties_tell_the_image_apart_and_never_say_phone() -> None:
    one = contents.build_properties("arm64", "aaa", "6.12")
    two = contents.build_properties("arm64", "bbb", "6.12")
    assert one["ro.build.fingerprint"] != two["ro.build.fingerprint"]
    assert one["ro.product.cpu.abilist"] == "arm64-v8a"
    assert one["ro.kernel.qemu"] == "1"
