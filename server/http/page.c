#include "server/http/page.h"
#include "schema/formats/json.h"
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void page_put_token(Buf *out, const StorePlace *place) {
    char raw[160], token[256];
    if (!*place->key) {
        buf_puts(out, "null");
        return;
    }
    int len = snprintf(raw, sizeof raw, "%llu %s", (unsigned long long)place->created, place->key);
    sodium_bin2base64(token, sizeof token, (unsigned char *)raw, (size_t)len, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    json_put_string(out, token);
}

bool page_read_token(const char *token, StorePlace *place) {
    unsigned char raw[160];
    size_t len;
    unsigned long long created;
    if (sodium_base642bin(raw, sizeof raw - 1, token, strlen(token), NULL, &len, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0)
        return false;
    raw[len] = 0;
    if (sscanf((char *)raw, "%llu %103s", &created, place->key) != 2) return false;
    place->created = created;
    return true;
}

void page_put_time(Buf *out, int64_t us) {
    time_t seconds = (time_t)(us / 1000000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    buf_printf(out, "\"%04d-%02d-%02dT%02d:%02d:%02d.%06dZ\"", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
               (int)(us % 1000000));
}
