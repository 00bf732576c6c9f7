# shellcheck shell=bash
# What the programs of a lab are told: certificates, and the configurations of Docker engines, etcds and the broker. Used
# by scripts/lab for namespaces and by scripts/provision for virtual machines.
# Needs: say.sh, lab-plan.sh; $root
# shellcheck disable=SC2154 # the scripts that source this set $root

# lab_certificates DIRECTORY: one authority for the lab, and for each engine, and for the broker as its client,
# DIRECTORY/<name>/{ca,cert,key}.pem, as the docker command names them. The authority's key is not kept.
lab_certificates() {
    local directory=$1 name
    umask 077
    mkdir -p "$directory"
    _lab_openssl req -x509 -nodes -subj "/CN=patroni-broker lab" -addext keyUsage=critical,keyCertSign \
        -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 30 -keyout "$directory/authority.key" -out "$directory/authority.pem"
    for name in $(lab_names) images; do
        _lab_sign "$directory" "$name" "subjectAltName=IP:$(lab_address "$name")" extendedKeyUsage=serverAuth
    done
    _lab_sign "$directory" client extendedKeyUsage=clientAuth
    rm -f "$directory/authority.key" "$directory/authority.pem"
}

# _lab_sign DIRECTORY NAME EXTENSION…
_lab_sign() {
    local directory=$1 name=$2 own=$1/$2
    shift 2
    mkdir -p "$own"
    printf '%s\n' "$@" >"$own/extensions"
    _lab_openssl req -new -nodes -subj "/CN=$name" -newkey ec -pkeyopt ec_paramgen_curve:P-256 \
        -keyout "$own/key.pem" -out "$own/request"
    _lab_openssl x509 -req -set_serial "0x$(openssl rand -hex 16)" -days 30 -in "$own/request" -extfile "$own/extensions" \
        -CA "$directory/authority.pem" -CAkey "$directory/authority.key" -out "$own/cert.pem"
    cp "$directory/authority.pem" "$own/ca.pem"
    rm -f "$own/request" "$own/extensions"
}

_lab_openssl() {
    local told
    told=$(openssl "$@" 2>&1 </dev/null) || die "openssl $1: $told"
}

# lab_engine_configuration CELL MTU [FIELD…]: an engine's daemon.json; each further field is a line of JSON. Only who shows
# a certificate of the lab's authority is let in, and nothing listens but that.
lab_engine_configuration() {
    local address mtu=$2 field
    address=$(lab_address "$1")
    shift 2
    printf '{\n'
    for field in "$@"; do
        printf '  %s,\n' "$field"
    done
    cat <<JSON
  "hosts": ["tcp://$address:$LAB_ENGINE_PORT"],
  "tlsverify": true,
  "tlscacert": "/etc/docker/tls/ca.pem",
  "tlscert": "/etc/docker/tls/cert.pem",
  "tlskey": "/etc/docker/tls/key.pem",
  "mtu": $mtu,
  "storage-driver": "overlay2",
  "log-opts": {"max-size": "10m", "max-file": "3"}
}
JSON
}

# lab_etcd_environment NUMBER DATA_DIRECTORY: as etcd reads it. Both APIs, so that a broker may use either.
lab_etcd_environment() {
    local number=$1 data=$2 address port peers
    address=$(lab_address hub)
    port=$(lab_etcd_port "$number")
    peers=$(for ((other = 1; other <= LAB_ETCDS; other++)); do
        printf 'etcd%d=http://%s:%d\n' "$other" "$address" "$(($(lab_etcd_port "$other") + 1))"
    done | paste -s -d ,)
    cat <<ENVIRONMENT
ETCD_NAME=etcd$number
ETCD_DATA_DIR=$data
ETCD_ENABLE_V2=true
ETCD_LISTEN_CLIENT_URLS=http://$address:$port
ETCD_ADVERTISE_CLIENT_URLS=http://$address:$port
ETCD_LISTEN_PEER_URLS=http://$address:$((port + 1))
ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$address:$((port + 1))
ETCD_INITIAL_CLUSTER=$peers
ETCD_INITIAL_CLUSTER_TOKEN=patroni-broker-lab
ETCD_INITIAL_CLUSTER_STATE=new
ENVIRONMENT
}

# lab_broker_configuration ENGINE PASSWORD CERTIFICATES: the broker's TOML, for a store by one of the names of
# `storage.engine`. CERTIFICATES is the client's directory as the broker finds it.
lab_broker_configuration() {
    local engine=$1 password=$2 certificates=$3 hub cell
    hub=$(lab_address hub)
    cat <<TOML
[broker]
listen = "$hub:3000"
username = "starkandwayne"
password = "$password"
bind_host = "$hub"

[storage]
engine = "$engine"
TOML
    if [[ $engine == embedded ]]; then
        printf 'path = "data"\nlisten = "%s:4001"\npassword = "%s"\n' "$hub" "$password"
    else
        printf 'endpoints = [%s]\n' "$(lab_etcd_endpoints | sed 's/.*/"&"/' | paste -s -d ,)"
    fi
    for cell in $(lab_names); do
        cat <<TOML

[[cells]]
guid = "$cell"
availability_zone = "$(lab_zone "$cell")"
docker = "tcp://$(lab_address "$cell"):$LAB_ENGINE_PORT"
tls = { ca = "$certificates/ca.pem", cert = "$certificates/cert.pem", key = "$certificates/key.pem" }
host = "$(lab_address "$cell")"
ports = "20000-20999"
TOML
    done
    printf '\n[routing]\nports = "30000-30999"\n\n'
    # A cluster has no more nodes than there are cells.
    sed "s/^node_count = 2/node_count = $((lab_cells < 2 ? lab_cells : 2))/" "$root/scripts/lib/lab-services.toml"
}
