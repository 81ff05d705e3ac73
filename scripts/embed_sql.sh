#!/bin/sh
# Print a C table of the migrations in DIR, in the order of their numbers:
#   const struct migration migrations[]; const unsigned migration_count;
set -eu
dir=$1
printf '/* made by scripts/embed_sql.sh; see store/db.h */\n#include "store/db.h"\n\n'
printf 'const struct migration migrations[] = {\n'
for file in "$dir"/[0-9][0-9][0-9]_*.sql; do
	[ -e "$file" ] || continue
	printf '\t{"%s",\n' "$(basename "$file" .sql)"
	sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/\t "/' -e 's/$/\\n"/' "$file"
	printf '\t},\n'
done
printf '};\nconst unsigned migration_count = sizeof(migrations) / sizeof(migrations[0]);\n'
