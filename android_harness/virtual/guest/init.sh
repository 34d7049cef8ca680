#!/vendor/bin/busybox sh
# First process of the virtual phone, in a container ("init container ROOT FOLDER") and in QEMU
# (no arguments). Makes Android's mounts, then keeps adbd running as user "shell".
#
# Applets are busybox's own (they run through /proc/self/exe), so no PATH is needed.

note() { echo "phone: $*"; }

enter_container() {
    mount --bind "$root" "$root"
    cd "$root" || exit 1
    mount --bind "$folder/phone.prop" odm/etc/build.prop
    mount --bind "$folder/adb_keys" adb_keys
    mount -t proc -o nosuid,nodev,noexec proc proc
    mount -t sysfs -o ro,nosuid,nodev,noexec sysfs sys
    mount -t tmpfs -o mode=755,nosuid,size=4m dev dev
    for node in null zero full random urandom tty; do
        : >dev/$node
        mount --bind /dev/$node dev/$node
    done
    mkdir dev/pts
    mount -t devpts -o newinstance,nosuid,noexec,mode=620,ptmxmode=666 devpts dev/pts
    ln -s pts/ptmx dev/ptmx
    pivot_root . mnt && cd / && umount -l /mnt || exit 1
    # The kernel is the host's; this phone's boots are its own.
    cat /proc/sys/kernel/random/uuid >/dev/boot_id
    mount --bind /dev/boot_id /proc/sys/kernel/random/boot_id
}

enter_machine() {
    /vendor/bin/busybox mount -t proc -o nosuid,nodev,noexec proc /proc
    mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
    mount -t devtmpfs -o nosuid dev /dev 2>/dev/null
    exec </dev/null >/dev/console 2>&1
    note "the kernel runs"
    mkdir -p /dev/pts
    mount -t devpts -o nosuid,noexec,mode=620,ptmxmode=666 devpts /dev/pts
    chmod 666 /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/ptmx
    for module in /vendor/lib/modules/*.ko; do insmod "$module"; done
    ip addr add 10.0.2.15/24 dev eth0
    ip link set eth0 up
    ip route add default via 10.0.2.2
    for part in /system /vendor /apex; do
        mount --bind $part $part
        mount -o remount,bind,ro $part
    done
    rmdir /root # the kernel's own, not Android's
}

read_settings() {
    while IFS='=' read -r name value; do
        case $name in
            ro.deploybench.data_mb) data_mb=$value ;;
            ro.deploybench.auth) auth=$value ;;
            ro.deploybench.banner) banner=$value ;;
        esac
    done </odm/etc/build.prop
}

mount_data() {
    mkdir -p /dev/shm /dev/socket /dev/props
    mount -t tmpfs -o nosuid,nodev,mode=1777,size=16m tmpfs /dev/shm
    chmod 1777 /dev/props
    : >/dev/props/.root # writable by root alone: how setprop tells who asks
    chmod 600 /dev/props/.root
    mount -t tmpfs -o "nosuid,nodev,mode=771,uid=1000,gid=1000,size=${data_mb}m" tmpfs /data
    mkdir -p /data/local/tmp /data/misc/adb /data/media/0
    chown -R 2000:2000 /data/local
    chmod 771 /data/local /data/local/tmp
    chown -R 1023:1015 /data/media
    chmod 775 /data/media /data/media/0
}

# Battery and thermal zones: plain files over the kernel's empty classes, set by the harness.
values() { # DIRECTORY NAME=VALUE...
    mkdir "$1"
    directory=$1
    shift
    for pair; do echo "${pair#*=}" >"$directory/${pair%%=*}"; done
}

mount_sensors() {
    for class in /sys/class/power_supply /sys/class/thermal; do
        [ -d $class ] || { note "this kernel has no $class"; return; }
        mount -t tmpfs -o nosuid,nodev,noexec,mode=755,size=1m tmpfs $class
    done
    values /sys/class/power_supply/battery type=Battery present=1 status=Discharging health=Good \
        technology=Li-ion capacity=85 voltage_now=3900000 current_now=-350000 \
        charge_counter=3400000 charge_full=4000000 temp=281 cycle_count=12
    values /sys/class/power_supply/usb type=USB online=0
    values /sys/class/thermal/thermal_zone0 type=cpu-0-0 mode=enabled temp=30000
    values /sys/class/thermal/thermal_zone1 type=battery mode=enabled temp=28100
    values /sys/class/thermal/thermal_zone2 type=skin mode=enabled temp=29500
}

# One request is one line "TOKEN SCRIPT" (script in base64); the answer is the script's output
# and a last line "TOKEN EXITCODE". The port stays open: closing it would throw away a request
# that came in while we had not yet seen the last client leave.
serve_control() {
    port=$(ls /dev/vport*p1 2>/dev/null)
    [ -c "$port" ] || { note "no control port"; return; }
    while :; do
        read -r token script <&3 || { sleep 0.1; continue; }
        echo "$script" | base64 -d >/dev/control.sh
        PATH=/system/bin /system/bin/sh /dev/control.sh </dev/null >&3 2>&1
        code=$?
        printf '\n%s %s\n' "$token" $code >&3
    done 3<>"$port"
}

# Android's init starts adbd again when it ends; so does this one.
serve_adb() {
    adbd=/apex/com.android.adbd/bin/adbd
    [ "$auth" = 1 ] && adbd=$adbd.auth
    while :; do
        env -i ADBD_PORT=5555 PATH=/product/bin:/system/bin:/vendor/xbin HOME=/ SHELL=/bin/sh \
            HOSTNAME=localhost ANDROID_ROOT=/system ANDROID_DATA=/data TMPDIR=/data/local/tmp \
            ANDROID_STORAGE=/storage EXTERNAL_STORAGE=/sdcard \
            /vendor/bin/busybox setpriv --nnp \
            /vendor/bin/busybox su -s /system/bin/sh shell -c "exec $adbd --device_banner='$banner'"
        note "adbd ended with $?"
        sleep 1
    done
}

data_mb=512 auth=0 banner=device::
if [ "$1" = container ]; then
    root=$2 folder=$3
    enter_container
else
    enter_machine
fi
read_settings
mount_data
mount_sensors
hostname localhost
ip link set lo up
mount -o remount,bind,ro / # "bind": in a container the file system below is the host's
[ "$1" = container ] || serve_control &
echo 1 >/dev/props/sys.boot_completed
note "up after $(cut -d' ' -f1 /proc/uptime) s"
serve_adb
