#!/bin/sh
# Writes the C source of server/embedded.h to standard output.
# usage: embed.sh OPENAPI MIGRATION…
set -eu
openapi=$1
shift
bytes() { od -An -v -tu1 "$1" | tr -s ' \n' ',' | sed 's/^,//; s/,$//'; }
echo '#include "server/embedded.h"'
n=0
for f in "$@"; do
    n=$((n + 1))
    echo "static const char migration_$n[] = {$(bytes "$f"),0};"
done
echo 'const char *const embedded_migrations[] = {'
i=0
while [ "$i" -lt "$n" ]; do
    i=$((i + 1))
    echo "    migration_$i,"
done
echo '};'
echo "const size_t embedded_nmigrations = $n;"
if [ -f "$openapi" ]; then body="$(bytes "$openapi"),0"; else body="'{','}',0"; fi
echo "const char embedded_openapi[] = {$body};"
echo 'const size_t embedded_openapi_len = sizeof embedded_openapi - 1;'
