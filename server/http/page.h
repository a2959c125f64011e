/* What lists of records have in common: the token that names where a page ended, and how times are written. */
#ifndef CAJAL_PAGE_H
#define CAJAL_PAGE_H
#include "schema/base/buf.h"
#include "server/store/store.h"

/* Appends a place as a JSON string; null when there is nothing behind it (key ""). In base64, so that nobody takes it apart. */
void page_put_token(Buf *out, const StorePlace *place);
/* False: it is no token of ours. */
bool page_read_token(const char *token, StorePlace *place);
/* Appends microseconds of the Unix epoch as a JSON string, RFC 3339 in UTC: "2026-11-23T08:07:31.123456Z". */
void page_put_time(Buf *out, int64_t us);
#endif
