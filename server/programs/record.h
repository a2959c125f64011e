/* A program's record: the answer of POST /compile and GET /programs/{hash} (api.md). */
#ifndef CAJAL_RECORD_H
#define CAJAL_RECORD_H
#include "server/programs/variant.h"

/* Appends the record, without "cached" and the closing brace: that is how it is kept. `v` is an open base variant with its facts. */
void record_put(Buf *out, const char *hash, const Variant *v, const ProgramInputs *inputs, const char *text);
/* Appends a kept record, complete. */
void record_finish(Buf *out, const char *record, size_t len, bool cached);
/* Appends "type":…,"shape":… ; the shape is null for a type that is no vector space. */
void record_put_type(Buf *out, const Type *type);
#endif
