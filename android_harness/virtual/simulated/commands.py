"""The Android commands of a simulated phone, as scripts for the host's sh.

They lie first on the PATH of every command; the host's own programs (sha256sum, mv, rm, cat,
...) do the rest. ``$ROOT`` is the phone's state directory, three levels above each script:
properties are files in sim/props, battery and temperatures are files below sys/class.
Source: output formats of frameworks/base BatteryService.dump, ThermalManagerService.dump,
ActivityManagerService meminfo, toolbox getprop and toybox df, written from knowledge of them.
"""

_HEAD = "#!/bin/sh\nROOT=${0%/*}/../..\n"

_GETPROP = r"""
# getprop [NAME [DEFAULT]]
cd "$ROOT/sim/props" || exit 1
if [ $# = 0 ]; then
  for name in *; do
    IFS= read -r value <"$name" && printf '[%s]: [%s]\n' "$name" "$value"
  done
elif [ -f "$1" ]; then
  cat "$1"
else
  printf '%s\n' "${2-}"
fi
"""

_SETPROP = r"""
# setprop NAME VALUE; a ro. property can be set once
[ $# = 2 ] || { echo "usage: setprop NAME VALUE" >&2; exit 1; }
case $1 in
  */*|'') taken=1 ;;
  ro.*) [ -e "$ROOT/sim/props/$1" ] && taken=1 ;;
esac
[ -z "${taken-}" ] && printf '%s\n' "$2" >"$ROOT/sim/props/$1" && exit 0
echo "Failed to set property '$1' to '$2'." >&2
exit 1
"""

_DUMPSYS = r"""
# dumpsys battery [set NAME VALUE | unplug | reset] | thermalservice | meminfo [PID] | power
BATTERY=$ROOT/sys/class/power_supply/battery
USB=$ROOT/sys/class/power_supply/usb
OVERRIDE=$ROOT/sim/battery
service=${1-}
[ $# = 0 ] || shift

# first_line FILE: what a value file holds, without starting a program
first_line() { IFS= read -r line <"$1" && printf '%s\n' "$line"; }

# read_value FILE OVERRIDE_NAME
read_value() { if [ -f "$OVERRIDE/$2" ]; then first_line "$OVERRIDE/$2"; else first_line "$1"; fi; }

status_code() {
  case $1 in
    Charging) echo 2 ;; Discharging) echo 3 ;; "Not charging") echo 4 ;; Full) echo 5 ;;
    [1-5]) echo "$1" ;; *) echo 1 ;;
  esac
}

as_bool() { [ "$1" = 1 ] && echo true || echo false; }

change_battery() {
  case $1 in
    unplug) echo 0 >"$OVERRIDE/ac"; echo 0 >"$OVERRIDE/usb"; echo 3 >"$OVERRIDE/status" ;;
    reset) rm -f "$OVERRIDE"/* ;;
    set)
      case ${2-} in
        level|temp|status|ac|usb|voltage|present) echo "${3-0}" >"$OVERRIDE/$2" ;;
        *) echo "Unknown set option: ${2-}"; exit 255 ;;
      esac ;;
    *) echo "Dump current battery state, or:"; exit 255 ;;
  esac
}

show_battery() {
  voltage_mv=$(( $(first_line "$BATTERY/voltage_now") / 1000 ))
  [ -f "$OVERRIDE/voltage" ] && voltage_mv=$(first_line "$OVERRIDE/voltage")
  ac=0
  [ -f "$OVERRIDE/ac" ] && ac=$(first_line "$OVERRIDE/ac")
  echo "Current Battery Service state:"
  [ -n "$(ls "$OVERRIDE")" ] && echo "  (UPDATES STOPPED -- use 'reset' to restart)"
  echo "  AC powered: $(as_bool "$ac")"
  echo "  USB powered: $(as_bool "$(read_value "$USB/online" usb)")"
  echo "  Wireless powered: false"
  echo "  Dock powered: false"
  echo "  Max charging current: 0"
  echo "  Max charging voltage: 0"
  echo "  Charge counter: $(first_line "$BATTERY/charge_counter")"
  echo "  status: $(status_code "$(read_value "$BATTERY/status" status)")"
  echo "  health: 2"
  echo "  present: true"
  echo "  level: $(read_value "$BATTERY/capacity" level)"
  echo "  scale: 100"
  echo "  voltage: $voltage_mv"
  echo "  temperature: $(read_value "$BATTERY/temp" temp)"
  echo "  technology: Li-ion"
}

show_temperatures() {
  for zone in "$ROOT"/sys/class/thermal/thermal_zone*; do
    [ -e "$zone/temp" ] || continue
    IFS= read -r value <"$zone/temp"
    IFS= read -r name <"$zone/type"
    case $name in
      cpu*) type=0 ;; gpu*) type=1 ;; battery) type=2 ;; skin) type=3 ;; *) type=-1 ;;
    esac
    printf '\tTemperature{mValue=%d.%03d, mType=%d, mName=%s, mStatus=%d}\n' \
      $((value / 1000)) $((value % 1000)) $type "$name" "$thermal_status"
  done
}

show_thermal() {
  thermal_status=$(cat "$ROOT/sim/thermal_status")
  echo "IsStatusOverride: false"
  echo "ThermalEventListeners:"
  printf '\tcallbacks: 1\n\tkilled: false\n\tbroadcasts count: -1\n'
  echo "Thermal Status: $thermal_status"
  echo "Cached temperatures:"
  show_temperatures
  echo "HAL Ready: true"
  echo "HAL connection:"
  printf '\tThermalHAL AIDL 1  connected: yes\n'
  echo "Current temperatures from HAL:"
  show_temperatures
  echo "Current cooling devices from HAL:"
}

uptime_ms() { cut -d' ' -f1 /proc/uptime | tr -d .; }

show_meminfo() {
  up=$(uptime_ms)0
  echo "Applications Memory Usage (in Kilobytes):"
  echo "Uptime: $up Realtime: $up"
  echo
  if [ $# = 0 ]; then
    awk '/^MemTotal/ {t=$2} /^MemAvailable/ {a=$2} END {
      printf "Total RAM: %dK (status normal)\n Free RAM: %dK\n Used RAM: %dK\n", t, a, t-a }' \
      /proc/meminfo
    return
  fi
  [ -r "/proc/$1/smaps_rollup" ] || { echo "No process found for: $1"; return; }
  echo "** MEMINFO in pid $1 [$(tr '\0' '\n' <"/proc/$1/cmdline" | head -n 1)] **"
  awk '/^Rss:/ {r=$2} /^Pss:/ {p=$2} /^Swap:/ {s=$2} END {
    printf "           TOTAL PSS: %8d            TOTAL RSS: %8d", p, r
    printf "       TOTAL SWAP (KB): %8d\n", s
  }' "/proc/$1/smaps_rollup"
}

case $service in
  -l)
    echo "Currently running services:"
    printf '  %s\n' battery meminfo power thermalservice ;;
  battery) if [ $# = 0 ]; then show_battery; else change_battery "$@"; fi ;;
  thermalservice) show_thermal ;;
  meminfo) show_meminfo "$@" ;;
  power) echo "POWER MANAGER (dumpsys power)"; echo; echo "Power Manager State:"
    echo "  mWakefulness=$(cat "$ROOT/sim/wakefulness")" ;;
  *) echo "Can't find service: $service" >&2 ;;
esac
"""

_DF = r"""
# df [-k] [PATH]: the host's figures, or those of a full phone (sim/capacity_bytes).
# Used counts what lies below data, as the quota of the daemon does.
case ${1-} in -k|-P|-kP) shift ;; -*) exec /bin/df "$@" ;; esac
[ $# = 0 ] && set -- "$ROOT/data"
[ -e "$1" ] || { echo "df: $1: No such file or directory" >&2; exit 1; }
set -- $(/bin/df -kP "$1" | tail -n 1)
total=$2 used=$3 free=$4
if [ -f "$ROOT/sim/capacity_bytes" ]; then
  used_bytes=$(find "$ROOT/data" -type f -printf '%s\n' | awk '{s += $1} END {printf "%.0f", s}')
  free=$(( ($(cat "$ROOT/sim/capacity_bytes") - used_bytes) / 1024 ))
  [ $free -ge 0 ] || free=0
  used=$((total - free))
fi
echo "Filesystem      1K-blocks      Used Available Use% Mounted on"
printf '%-15s %9d %9d %9d %3d%% %s\n' /dev/block/dm-0 $total $used $free \
  $((used * 100 / total)) /data
"""

SCRIPTS = {
    "getprop": _HEAD + _GETPROP,
    "setprop": _HEAD + _SETPROP,
    "dumpsys": _HEAD + _DUMPSYS,
    "df": _HEAD + _DF,
}
