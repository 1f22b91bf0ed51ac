#!/bin/sh
# Makes every file of this folder anew, with OpenSSL 3.0, its legacy provider, and OpenVPN 2.6. The passphrase is always "s3cret pass".
set -eu
cd "$(dirname "$0")"
P='pass:s3cret pass'
req() { openssl req -new -key "$1" -subj "$2" 2>/dev/null; }

openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl req -x509 -new -key ca.key -sha256 -days 36500 -subj '/O=adit tests/CN=Test CA' -out ca.crt
openssl ecparam -name prime256v1 -genkey -noout -out ec.sec1.key
printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n' > client.ext
req ec.sec1.key '/O=adit tests/CN=client' |
  openssl x509 -req -extfile client.ext -CA ca.crt -CAkey ca.key -set_serial 2 -days 36500 -sha256 -out client.crt 2>/dev/null
printf '[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=sha256\ndefault_crl_days=36500\n' > ca.cnf
: > index.txt
# Without `crl_extensions` OpenSSL makes a list of version 1.
openssl ca -gencrl -config ca.cnf -keyfile ca.key -cert ca.crt -out crl.pem 2>/dev/null
rm -f ca.key client.ext ca.cnf index.txt*

# Plain keys in the three forms. The first of ec.params.key is an EC PARAMETERS block, as `openssl ecparam -genkey` writes it.
openssl pkcs8 -topk8 -nocrypt -in ec.sec1.key -out ec.pkcs8.key
{ openssl ecparam -name prime256v1; cat ec.sec1.key; } > ec.params.key
openssl genrsa -traditional -out rsa.pkcs1.key 2048 2>/dev/null

# Too small for ring; key and certificate in one file.
openssl req -x509 -newkey rsa:1024 -nodes -keyout rsa.1024.pem -subj '/O=adit tests/CN=old client' -sha256 -days 36500 -out rsa.1024.crt 2>/dev/null
cat rsa.1024.crt >> rsa.1024.pem
rm rsa.1024.crt

# Encrypted PKCS#8: PBES2 with several ciphers and key derivations, PBES1.
for c in aes-128-cbc aes-256-cbc des3; do
  openssl pkcs8 -topk8 -v2 $c -in ec.sec1.key -passout "$P" -out ec.pbes2-$c.key
done
openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA1 -in ec.sec1.key -passout "$P" -out ec.pbes2-sha1.key
openssl pkcs8 -topk8 -scrypt -scrypt_N 1024 -in ec.sec1.key -passout "$P" -out ec.pbes2-scrypt.key
L='-provider legacy -provider default'
openssl pkcs8 -topk8 $L -v1 PBE-MD5-DES -in ec.sec1.key -passout "$P" -out ec.pbes1-md5-des.key
openssl pkcs8 -topk8 $L -v1 PBE-SHA1-DES -in ec.sec1.key -passout "$P" -out ec.pbes1-sha1-des.key
openssl pkcs8 -topk8 $L -v1 PBE-SHA1-3DES -in ec.sec1.key -passout "$P" -out ec.pkcs12-sha1-3des.key

# Legacy PEM with DEK-Info.
for c in des-cbc des-ede3-cbc aes-128-cbc aes-192-cbc aes-256-cbc; do
  openssl ec $L -$c -in ec.sec1.key -passout "$P" -out ec.dek-$c.key 2>/dev/null
done
openssl rsa -traditional -aes256 -in rsa.pkcs1.key -passout "$P" -out rsa.dek-aes-256-cbc.key 2>/dev/null

# PKCS#12: modern, of old tools (RC2-40 for certificates, 3DES for the key), all 3DES, without password, without the CA.
p12() { openssl pkcs12 -export -inkey ec.sec1.key -in client.crt -name client "$@"; }
p12 -certfile ca.crt -passout "$P" -out modern.p12
p12 -certfile ca.crt -passout "$P" -legacy -out rc2-40.p12
p12 -certfile ca.crt -passout "$P" -keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1 -out 3des.p12
p12 -passout pass: -out no-password.p12
p12 -passout "$P" -keypbe NONE -certpbe NONE -nomac -out plain.p12
p12 -passout "$P" -legacy -certpbe PBE-SHA1-RC2-128 -keypbe PBE-SHA1-RC2-128 -out rc2-128.p12

# OpenVPN's own keys.
openvpn --genkey secret ta.key
openvpn --genkey tls-crypt-v2-server v2-server.key
openvpn --tls-crypt-v2 v2-server.key --genkey tls-crypt-v2-client v2-client.key
rm v2-server.key
mv ta.key static.txt
mv v2-client.key tls-crypt-v2.txt
