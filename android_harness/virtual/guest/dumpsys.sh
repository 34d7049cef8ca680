#!/system/bin/sh
# dumpsys battery | thermalservice | meminfo [PID or NAME] | cpuinfo | -l
# Every value is read from /sys or /proc; the layout is that of Android 14.
POWER=/sys/class/power_supply
THERMAL=/sys/class/thermal
PROC=/proc

# read_file FILE DEFAULT: sets $value
read_file() {
    value=$2
    [ -r "$1" ] && IFS= read -r value <"$1"
}

# field NAME FILE FACTOR: one line of the battery's state, left out when the kernel has no value
field() {
    read_file "$2" ''
    [ -z "$value" ] || echo "  $1: $((value / $3))"
}

battery() {
    b=$POWER/battery
    read_file "$POWER/usb/online" 0
    usb=false
    [ "$value" = 1 ] && usb=true
    read_file $b/status Unknown
    case $value in
        Charging) status=2 ;; Discharging) status=3 ;; 'Not charging') status=4 ;;
        Full) status=5 ;; *) status=1 ;;
    esac
    read_file $b/health Unknown
    case $value in
        Good) health=2 ;; Overheat) health=3 ;; Dead) health=4 ;; Cold) health=7 ;; *) health=1 ;;
    esac
    read_file $b/technology ''
    technology=$value
    echo "Current Battery Service state:"
    echo "  AC powered: false"
    echo "  USB powered: $usb"
    echo "  Wireless powered: false"
    echo "  Dock powered: false"
    echo "  Max charging current: 0"
    echo "  Max charging voltage: 0"
    field 'Charge counter' $b/charge_counter 1
    echo "  status: $status"
    echo "  health: $health"
    echo "  present: true"
    field level $b/capacity 1
    echo "  scale: 100"
    field voltage $b/voltage_now 1000
    field temperature $b/temp 1
    echo "  technology: $technology"
}

# severity TYPE MILLIDEGREES: sets $status, by thresholds common for a phone's skin
severity() {
    status=0
    [ "$1" = 3 ] || return 0
    for limit in 40 43 46 49 52 55; do
        [ "$2" -ge "${limit}000" ] && status=$((status + 1))
    done
    return 0
}

# zones: one line per thermal zone; sets $worst
zones() {
    worst=0
    for zone in "$THERMAL"/thermal_zone*; do
        [ -r "$zone/temp" ] || continue
        read_file "$zone/type" unknown
        name=$value
        read_file "$zone/temp" ''
        [ -n "$value" ] || continue
        case $name in
            cpu*) kind=0 ;; gpu*) kind=1 ;; battery*) kind=2 ;; skin*) kind=3 ;; *) kind=-1 ;;
        esac
        severity "$kind" "$value"
        [ "$status" -gt "$worst" ] && worst=$status
        degrees=$((value / 1000)).$(printf %03d $((value % 1000)))
        zone_lines="$zone_lines	Temperature{mValue=$degrees, mType=$kind, mName=$name, mStatus=$status}
"
    done
}

thermalservice() {
    zone_lines=
    zones
    echo "IsStatusOverride: false"
    echo "ThermalEventListeners:"
    echo "	callbacks: 0"
    echo "	killed: false"
    echo "	broadcasts count: -1"
    echo "ThermalStatusListeners:"
    echo "	callbacks: 0"
    echo "	killed: false"
    echo "	broadcasts count: -1"
    echo "Thermal Status: $worst"
    echo "Cached temperatures:"
    printf %s "$zone_lines"
    echo "HAL Ready: true"
    echo "HAL connection:"
    echo "	ThermalHAL 2.0 connected: yes"
    echo "Current temperatures from HAL:"
    printf %s "$zone_lines"
    echo "Current cooling devices from HAL:"
}

# uptime_ms: sets $uptime
uptime_ms() {
    read -r value _ <"$PROC/uptime"
    uptime=${value%.*}${value#*.}0
}

# thousands NUMBER: sets $value to it with a comma between groups of three digits
thousands() {
    value=
    rest=$1
    while [ ${#rest} -gt 3 ]; do
        head=${rest%???}
        value=,${rest#"$head"}$value
        rest=$head
    done
    value=$rest$value
}

meminfo_all() {
    while read -r key kb _; do
        case $key in
            MemTotal:) total=$kb ;; MemFree:) free=$kb ;; Cached:) cached=$kb ;;
            MemAvailable:) available=$kb ;;
        esac
    done <"$PROC/meminfo"
    uptime_ms
    echo "Applications Memory Usage (in Kilobytes):"
    echo "Uptime: $uptime Realtime: $uptime"
    echo
    thousands "$total"; total_text=$value
    thousands "$available"; available_text=$value
    thousands "$cached"; cached_text=$value
    thousands "$free"; free_text=$value
    thousands $((total - available)); used_text=$value
    echo "Total RAM: ${total_text}K (status normal)"
    echo " Free RAM: ${available_text}K (0K cached pss + ${cached_text}K cached kernel + ${free_text}K free)"
    echo " Used RAM: ${used_text}K"
}

meminfo_one() {
    pid=$1
    [ -d "$PROC/$pid" ] || pid=$(pidof "$1")
    pid=${pid%% *}
    if [ -z "$pid" ] || [ ! -r "$PROC/$pid/smaps_rollup" ]; then
        echo "No process found for: $1"
        return
    fi
    while read -r key kb _; do
        case $key in
            Rss:) rss=$kb ;; Pss:) pss=$kb ;; Swap:) swap=$kb ;;
        esac
    done <"$PROC/$pid/smaps_rollup"
    uptime_ms
    read_file "$PROC/$pid/comm" unknown
    echo "Applications Memory Usage (in Kilobytes):"
    echo "Uptime: $uptime Realtime: $uptime"
    echo
    echo "** MEMINFO in pid $pid [$value] **"
    echo "           TOTAL PSS: $pss            TOTAL RSS: $rss       TOTAL SWAP (KB): $swap"
}

cpuinfo() {
    read -r one five fifteen _ <"$PROC/loadavg"
    echo "Load: $one / $five / $fifteen"
    read -r _ user nice system idle _ <"$PROC/stat"
    uptime_ms
    all=$((user + nice + system + idle))
    [ "$all" -gt 0 ] || return 0
    busy=$(((user + nice) * 100 / all))
    kernel=$((system * 100 / all))
    echo "CPU usage from ${uptime}ms to 0ms ago:"
    echo "$((busy + kernel))% TOTAL: $busy% user + $kernel% kernel"
}

case $1 in
    -l)
        echo "Currently running services:"
        for service in battery cpuinfo meminfo thermalservice; do echo "  $service"; done
        ;;
    battery) battery ;;
    thermalservice) thermalservice ;;
    meminfo) if [ -z "$2" ]; then meminfo_all; else meminfo_one "$2"; fi ;;
    cpuinfo) cpuinfo ;;
    '') echo "dumpsys: this phone dumps one service at a time; see dumpsys -l" >&2; exit 1 ;;
    *) echo "Can't find service: $1" >&2; exit 20 ;;
esac
