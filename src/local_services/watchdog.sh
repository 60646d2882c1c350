#!/bin/sh
# Stops the servers of a checkout when nobody uses them any more. Started by local-services, detached, with
#   $1  the folder of the locks     $2  "stop", or "remove": kill what runs and remove the folder too
# No child may inherit fd 8: it would be on duty in our place if we were killed.
# A user is whoever holds a shared lock on users.lock; the kernel lets go of it for a process that was killed.
# Wants what every Debian has: util-linux, coreutils, findutils, grep.
state=$1 mode=$2
orders() { [ -r "$state/host" ] && { read -r grace; read -r data; read -r sockets; } <"$state/host"; }
orders || exit 1 # read now too: the folder may be gone at the end

exec 8>>"$state/watchdog.lock" 9>>"$state/users.lock" || exit 1
flock -n 8 || exit 0 # another one is on duty

while :; do
    flock -x 9 8>&-
    # Given back while we wait: whoever comes now finds the servers running.
    flock -u 9 8>&-
    orders
    sleep "$grace" 8>&- 9>&-
    flock -n -x 9 8>&- && break
done

# The folder was replaced under us: what runs there now has a watchdog of its own.
[ -e "$state/users.lock" ] && ! [ "/proc/$$/fd/9" -ef "$state/users.lock" ] && exit 0

# "pid name" of each of our servers: its command line names our folder, or it stands in it.
servers() {
    {
        grep -lsF -e "$data/" /proc/[0-9]*/cmdline
        find /proc -maxdepth 2 -path '/proc/[0-9]*/cwd' -lname "$data/*" 2>/dev/null
    } | cut -d/ -f3 | sort -u | while read -r pid; do
        read -r name <"/proc/$pid/comm" || continue
        case $name in
        initdb | postgres | redis-server | rabbitmq-server | erl | erlexec | beam.smp | erl_child_setup | epmd | setsid | setpriv) echo "$pid $name" ;;
        esac
    done
}

if [ "$mode" = stop ]; then
    read -r postmaster <"$data/postgres/postmaster.pid" || postmaster=
    servers | while read -r pid name; do
        case $name in
        postgres) [ "$pid" = "$postmaster" ] && kill -INT "$pid" ;; # fast shutdown; its children are its own
        erl_child_setup) ;;
        *) kill -TERM "$pid" ;;
        esac
    done
    tries=150
    while [ -n "$(servers)" ] && [ "$tries" -gt 0 ]; do
        sleep 0.2 8>&- 9>&-
        tries=$((tries - 1))
    done
fi
tries=50
while [ -n "$(servers)" ] && [ "$tries" -gt 0 ]; do
    servers | while read -r pid name; do kill -KILL "$pid"; done
    sleep 0.1 8>&- 9>&-
    tries=$((tries - 1))
done

rm -f "$state/services.json"
case $sockets in /tmp/waybill-*) rm -rf "$sockets" ;; esac
if [ "$mode" = remove ]; then
    case $state in
    /tmp/waybill-*)
        for disk in "$state"/*/disk; do
            mountpoint -q "$disk" && umount --lazy "$disk" # a test's own
        done
        rm -rf "$state"
        ;;
    esac
fi
# In this order: whoever gets the second lock must find that no watchdog is on duty.
exec 8>&-
exec 9>&-
