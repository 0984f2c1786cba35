# What preflight wants to know of a machine, one "name=value" a line; needs neither Python nor root, and changes nothing.
# $1: the gateway's account.
export LC_ALL=C PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
echo "now=$(date +%s.%N)"
echo "uid=$(id -u)"
echo "hostname=$(uname -n)"
echo "arch=$(uname -m)"
echo "machine=$(cat /etc/machine-id 2>/dev/null)"
echo "init=$(cat /proc/1/comm 2>/dev/null)"
echo "system=$(. /etc/os-release 2>/dev/null; echo "${ID:-} ${VERSION_ID:-}")"
echo "python=$(/usr/bin/python3 --version 2>&1 | sed -n 's/^Python //p')"
echo "rsync=$(rsync --version 2>/dev/null | sed -n '1s/^rsync *version v*\([0-9][^ ]*\).*/\1/p')"
# What apt would install, when its lists have been fetched; site.yml fetches them otherwise.
if ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1; then
  echo "rsync_offered=$(apt-cache policy rsync 2>/dev/null | sed -n 's/^ *Candidate: //p')"
fi
for folder in /opt /var/lib; do
  echo "free_kib=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')"
  echo "free_inodes=$(df -Pi "$folder" | awk 'NR == 2 && $2 > 0 { print $4 }')"
done
[ -z "${1:-}" ] || echo "shell=$(getent passwd "$1" | cut -d: -f7)"
echo "gateway=$(systemctl is-active openclaw-gateway 2>/dev/null)"
# Both units that Dual-Joe writes, the guarded and the plain one, name it.
unit=$(systemctl show --property=FragmentPath --value openclaw-gateway 2>/dev/null)
echo "gateway_unit=$(grep -qis 'dual-*joe' "$unit" && echo ours)"
echo "page=$(systemctl is-active dualjoe-web 2>/dev/null)"
echo "node=$(sed -n 's/^ *"node": "\(.*\)",*$/\1/p' /etc/dualjoe/node.json 2>/dev/null)"
[ ! -e /etc/dualjoe/watchdog.json ] || echo "watchdog=yes"
echo "listening=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk '$4 == "0A" { printf "%s ", $2 }')"
