#include "server/http/list.h"
#include "schema/formats/json.h"
#include "schema/limits.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* A place as a JSON string, in base64 so that nobody takes it apart; null when there is nothing behind it. */
static void put_token(Buf *out, const StorePlace *place) {
    char raw[160], token[256];
    if (!*place->key) {
        buf_puts(out, "null");
        return;
    }
    int len = snprintf(raw, sizeof raw, "%llu %s", (unsigned long long)place->created, place->key);
    sodium_bin2base64(token, sizeof token, (unsigned char *)raw, (size_t)len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    json_put_string(out, token);
}

/* False: it is no token of ours. */
static bool read_token(const char *token, StorePlace *place) {
    unsigned char raw[160];
    size_t len;
    unsigned long long created;
    if (sodium_base642bin(raw, sizeof raw - 1, token, strlen(token), NULL, &len, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0)
        return false;
    raw[len] = 0;
    if (sscanf((char *)raw, "%llu %103s", &created, place->key) != 2) return false;
    place->created = created;
    return created <= INT64_MAX;
}

bool list_begin(List *list, Call *call, const char *member) {
    const char *token = call_query(call, "page_token");
    *list = (List){.call = call};
    if (!call_query_uint(call, "limit", 50, 1, LIMIT_LIST, &list->limit)) return false;
    if (token && *token && !read_token(token, &list->after)) {
        call_fail(call, ERR_bad_request, "?page_token is not one that this service gave.");
        return false;
    }
    buf_init(&list->body);
    buf_printf(&list->body, "{\"%s\":[", member);
    return true;
}

Buf *list_next(List *list) {
    Buf *out = &list->body;
    if (out->len && out->data[out->len - 1] != '[') buf_putc(out, ',');
    return out;
}

bool list_has_room(const List *list) { return !list->body.failed && list->body.len < LIMIT_LIST_BYTES; }

void list_end(List *list, ErrCode code) {
    Buf *out = &list->body;
    if (code) {
        buf_release(out);
        call_fail(list->call, ERR_internal, "The database does not answer.");
        return;
    }
    buf_puts(out, "],\"next_page_token\":");
    put_token(out, &list->last);
    buf_putc(out, '}');
    call_answer(list->call, 200, "application/json", out);
}
