#!/usr/bin/env bash
# Prints the Secrets that firn.yaml needs, with tokens and certificates that are made anew each time: apply them once.
#
#   secrets.sh | kubectl apply -f -
set -euo pipefail

home=firn-system
days=365
command -v openssl >/dev/null || {
	echo "error: openssl was not found" >&2
	exit 1
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

# authority: ca.crt, ca.key
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=firn -keyout ca.key -out ca.crt \
	-addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
# the coordinator's certificate: tls.crt, tls.key
name=firn-coordinator
names=DNS:$name,DNS:$name.$home,DNS:$name.$home.svc,DNS:$name.$home.svc.cluster.local,DNS:localhost,IP:127.0.0.1
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name.$home.svc" -keyout tls.key -out tls.csr 2>/dev/null
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days $days -out tls.crt 2>/dev/null \
	-extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\n' "$names")

token() {
	openssl rand -hex 32
}

# secret NAME KEY=FILE…
secret() {
	printf -- '---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\n  labels:\n    app.kubernetes.io/part-of: firn\ndata:\n' "$1" $home
	local pair
	for pair in "${@:2}"; do
		printf '  %s: %s\n' "${pair%%=*}" "$(base64 <"${pair#*=}" | tr -d '\n')"
	done
}

token >admin
token >operator
# The operator issues the tokens of workers.
for bearer in admin operator; do
	echo "$(cat $bearer) role=administrator" >>tokens
	secret firn-$bearer token=$bearer ca.crt=ca.crt
done
secret firn-tokens tokens=tokens
secret firn-authority tls.crt=ca.crt tls.key=ca.key
secret firn-coordinator-tls tls.crt=tls.crt tls.key=tls.key ca.crt=ca.crt
