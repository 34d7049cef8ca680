"""What the phone's file system is made of: packages, applets, users, properties."""

from typing import Final

ABI: Final = {"amd64": "x86_64", "arm64": "arm64-v8a"}
LOADER: Final = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1"}
# mksh's package also holds a static build for the musl C library: no loader, no libraries.
STATIC_MKSH: Final = {
    "amd64": "usr/lib/x86_64-linux-musl/bin/mksh",
    "arm64": "usr/lib/aarch64-linux-musl/bin/mksh",
}
LIBRARY_FOLDER: Final = {
    "amd64": "usr/lib/x86_64-linux-gnu",
    "arm64": "usr/lib/aarch64-linux-gnu",
}

# adbd, the shell and the programs, and every library they load.
PACKAGES: Final = (
    "adbd",
    "android-libbase",
    "android-libboringssl",
    "android-libcutils",
    "android-liblog",
    "busybox-static",
    "libbrotli1",
    "libc6",
    "libcap2",
    "libcrypt1",
    "libgcc-s1",
    "liblz4-1",
    "libprotobuf32t64",
    "libstdc++6",
    "libsystemd0",
    "libxxhash0",
    "libzstd1",
    "mksh",
    "toybox",
    "zlib1g",
)
# A metapackage; the kernel is the package it depends on.
KERNEL_PACKAGE: Final = {"amd64": "linux-image-cloud-amd64", "arm64": "linux-image-cloud-arm64"}
# Loaded in this order; all else that QEMU's machines need is built into Debian's cloud kernel.
KERNEL_MODULES: Final = ("failover", "net_failover", "virtio_mmio", "virtio_net")

ADBD_FOLDER: Final = "apex/com.android.adbd"
FOLDERS: Final = (
    f"{ADBD_FOLDER}/bin",
    f"{ADBD_FOLDER}/lib64",
    "data",
    "dev",
    "mnt",
    "odm/etc",
    "proc",
    "product/bin",
    "storage",
    "sys",
    "system/bin",
    "system/etc",
    "vendor/bin",
    "vendor/lib/modules",
    "vendor/xbin",
)
LINKS: Final = {
    "bin": "/system/bin",
    "etc": "/system/etc",
    "sdcard": "/data/media/0",
    "system/bin/mksh": "sh",
}

# Android's toybox commands that Debian's build has too.
# fmt: off
TOYBOX: Final = (
    "[", "acpi", "base64", "basename", "blkdiscard", "blkid", "blockdev", "cal", "cat", "chattr",
    "chgrp", "chmod", "chown", "chroot", "chrt", "cksum", "clear", "cmp", "comm", "cp", "cpio",
    "cut", "date", "devmem", "df", "dirname", "dmesg", "dos2unix", "du", "echo", "egrep", "env",
    "expand", "fallocate", "false", "fgrep", "file", "find", "flock", "fmt", "free",
    "freeramdisk", "fsfreeze", "fsync", "getconf", "grep", "groups", "gunzip", "head", "help",
    "hostname", "hwclock", "iconv", "id", "ifconfig", "inotifyd", "insmod", "install", "ionice",
    "iorenice", "iotop", "kill", "killall", "ln", "logname", "losetup", "ls", "lsattr", "lsmod",
    "lspci", "lsusb", "makedevs", "md5sum", "microcom", "mkdir", "mkfifo", "mknod", "mkswap",
    "mktemp", "modinfo", "mount", "mountpoint", "mv", "nbd-client", "nc", "netcat", "netstat",
    "nice", "nl", "nohup", "nproc", "nsenter", "od", "partprobe", "paste", "patch", "pgrep",
    "pidof", "ping", "ping6", "pivot_root", "pkill", "pmap", "printenv", "printf", "prlimit",
    "ps", "pwd", "pwdx", "readelf", "readlink", "realpath", "renice", "rev", "rfkill", "rm",
    "rmdir", "rmmod", "rtcwake", "sed", "seq", "setfattr", "setsid", "sha1sum", "sha224sum",
    "sha256sum", "sha384sum", "sha512sum", "sleep", "sort", "split", "stat", "strings", "swapoff",
    "swapon", "sync", "sysctl", "tac", "tail", "tar", "taskset", "tee", "test", "time", "timeout",
    "top", "touch", "true", "truncate", "tty", "tunctl", "ulimit", "umount", "uname", "uniq",
    "unix2dos", "unlink", "unshare", "uptime", "usleep", "uudecode", "uuencode", "uuidgen",
    "vconfig", "vmstat", "watch", "wc", "which", "whoami", "xargs", "xxd", "yes", "zcat",
)
# fmt: on
# Android has these, Debian's toybox does not.
BUSYBOX: Final = ("awk", "bc", "dd", "diff", "expr", "getopt", "gzip", "more", "stty", "tr", "vi")

PASSWD: Final = """\
root:x:0:0::/:/bin/sh
system:x:1000:1000::/:/bin/sh
media_rw:x:1023:1023::/:/bin/sh
shell:x:2000:2000::/:/bin/sh
"""
# Source: the groups adbd keeps in AOSP packages/modules/adb/daemon/main.cpp (drop_privileges);
# the numbers are those of system/core/libcutils/include/private/android_filesystem_config.h.
GROUP: Final = """\
root:x:0:
system:x:1000:
log:x:1007:shell
adb:x:1011:shell
sdcard_rw:x:1015:shell
media_rw:x:1023:
shell:x:2000:
net_bt:x:3002:shell
inet:x:3003:shell
readproc:x:3009:shell
"""


def build_properties(arch: str, key: str, kernel: str) -> dict[str, str]:
    """The properties every phone of one image has (/system/build.prop).

    Args:
        arch: Debian's name of the architecture.
        key: the image's identity, shown in the fingerprint.
        kernel: release of the kernel that QEMU starts.
    """
    abi = ABI[arch]
    return {
        "ro.build.version.release": "14",
        "ro.build.version.sdk": "34",
        "ro.build.version.security_patch": "2024-01-05",
        "ro.build.version.incremental": key,
        "ro.build.type": "userdebug",
        "ro.build.tags": "test-keys",
        "ro.build.fingerprint": f"deploybench/virtual/{abi}:14/VIRTUAL/{key}:userdebug/test-keys",
        "ro.product.name": "virtual",
        "ro.product.model": "Virtual Phone",
        "ro.product.device": f"virtual_{abi}",
        "ro.product.manufacturer": "deploy-bench",
        "ro.product.brand": "deploybench",
        "ro.product.board": "virtual",
        "ro.product.cpu.abi": abi,
        "ro.product.cpu.abilist": abi,
        "ro.product.cpu.abilist64": abi,
        "ro.product.cpu.abilist32": "",
        "ro.hardware": "virtual",
        "ro.soc.manufacturer": "deploy-bench",
        # For tools that know nothing of ours: never a phone.
        "ro.kernel.qemu": "1",
        "ro.deploybench.kernel": kernel,
    }
