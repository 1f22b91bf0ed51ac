#!/bin/sh
# Makes every file of this folder anew, with OpenSSL 3.0 and Python 3. Nothing here is secret.
set -eu
cd "$(dirname "$0")"
rm -f ./*.crt ./*.key ./*.crl ./*.txt
DAYS=36500

key() { # NAME, then what `openssl genpkey` wants
  name=$1; shift
  openssl genpkey "$@" -out "$name.key" 2>/dev/null
}
ca() { # NAME, DIGEST
  openssl req -x509 -new -key "$1.key" -"$2" -days $DAYS -subj "/C=CH/O=adit tests/CN=$1" -out "$1.crt" \
    -addext keyUsage=critical,keyCertSign,cRLSign
}
leaf() { # NAME, CA, options of `openssl x509`
  name=$1; issuer=$2; shift 2
  printf 'subjectAltName=DNS:vpn.example,IP:192.0.2.1,email:vpn@example\nextendedKeyUsage=serverAuth\nsubjectKeyIdentifier=hash\n' > ext
  openssl req -new -key "$name.key" -subj "/C=CH/O=adit tests/CN=vpn.example" |
    openssl x509 -req -extfile ext -CA "$issuer.crt" -CAkey "$issuer.key" -days $DAYS "$@" -out "$name.crt" 2>/dev/null
  rm ext
}

crl() { # FILE, CA, DIGEST, then the certificates revoked; of version 1, as OpenSSL makes them unless told otherwise
  file=$1; issuer=$2
  printf '[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=%s\ndefault_crl_days=%s\n' "$3" $DAYS > ca.cnf
  shift 3
  : > index
  for name; do
    serial=$(openssl x509 -in "$name.crt" -noout -serial)
    printf 'R\t401231235959Z\t261122000000Z\t%s\tunknown\t/CN=%s\n' "${serial#serial=}" "$name" >> index
  done
  openssl ca -gencrl -config ca.cnf -keyfile "$issuer.key" -cert "$issuer.crt" -out "$file" 2>/dev/null
  rm -f ca.cnf index*
}

key ca-rsa -algorithm RSA -pkeyopt rsa_keygen_bits:4096; ca ca-rsa sha256
key ca-p521 -algorithm EC -pkeyopt ec_paramgen_curve:P-521; ca ca-p521 sha512
key rsa -algorithm RSA -pkeyopt rsa_keygen_bits:2048; leaf rsa ca-rsa -sha256
key rsa4096 -algorithm RSA -pkeyopt rsa_keygen_bits:4096; leaf rsa4096 ca-rsa -sha384 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest
key rsa1024 -algorithm RSA -pkeyopt rsa_keygen_bits:1024; leaf rsa1024 ca-rsa -sha256
key rsa-e3 -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -pkeyopt rsa_keygen_pubexp:3; leaf rsa-e3 ca-rsa -sha256
key sha1 -algorithm EC -pkeyopt ec_paramgen_curve:P-256; leaf sha1 ca-rsa -sha1
key p256 -algorithm EC -pkeyopt ec_paramgen_curve:P-256; leaf p256 ca-p521 -sha384
key p384 -algorithm EC -pkeyopt ec_paramgen_curve:P-384; leaf p384 ca-p521 -sha256
key p521 -algorithm EC -pkeyopt ec_paramgen_curve:P-521; leaf p521 ca-p521 -sha512
key ed25519 -algorithm ED25519; leaf ed25519 ca-p521 -sha512
openssl ec -in p521.key -out p521.sec1.key 2>/dev/null
openssl rsa -in rsa.key -traditional -out rsa.pkcs1.key 2>/dev/null

crl p521-revoked.crl ca-p521 sha512 p521
crl rsa-none.crl ca-rsa sha256
crl rsa-revoked.crl ca-rsa sha256 rsa rsa4096

python3 signatures.py > signatures.txt
rm ca-rsa.key ca-p521.key rsa-e3.key sha1.key
