#!/system/bin/sh
# setprop NAME VALUE
# The shell user may set what Android lets it set; ro.* can be set once, by root.
SET=/dev/props

fail() {
    echo "Failed to set property '$1' to '$2'." >&2
    echo "See dmesg for error reason." >&2
    exit 1
}

[ $# = 2 ] || { echo "usage: setprop NAME VALUE" >&2; exit 1; }
case $1 in
    '' | *[!A-Za-z0-9@:._-]* | .*) fail "$1" "$2" ;;
    ro.*) [ -z "$(getprop "$1")" ] || fail "$1" "$2" ;;
esac
case $1 in
    debug.* | log.* | persist.log.*) ;;
    *) [ -w "$SET/.root" ] || fail "$1" "$2" ;;
esac
{ echo "$2" >"$SET/$1"; } 2>/dev/null || fail "$1" "$2"
