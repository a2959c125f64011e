#include "server/store/store_sums.h"
#include <sodium.h>
#include <stdint.h>
#include <string.h>

enum { SUM = crypto_generichash_BYTES_MIN };

typedef struct {
    const unsigned char *bytes;
    size_t len;
    unsigned char number[8];
} Value;

static void set_number(Value *v, uint64_t bits) {
    for (int i = 0; i < 8; i++) v->number[i] = (unsigned char)(bits >> 8 * i);
    v->bytes = v->number;
    v->len = sizeof v->number;
}

static void read_value(Value *out, sqlite3_value *value) {
    uint64_t bits;
    double real;
    *out = (Value){.bytes = out->number};
    switch (sqlite3_value_type(value)) {
    case SQLITE_INTEGER: set_number(out, (uint64_t)sqlite3_value_int64(value)); break;
    case SQLITE_FLOAT:
        real = sqlite3_value_double(value) + 0.0;
        memcpy(&bits, &real, sizeof bits);
        set_number(out, bits);
        break;
    case SQLITE_NULL: break;
    default:
        out->bytes = sqlite3_value_blob(value);
        out->len = (size_t)sqlite3_value_bytes(value);
    }
}

static void put_length(crypto_generichash_state *state, uint64_t len) {
    Value prefix;
    set_number(&prefix, len);
    crypto_generichash_update(state, prefix.bytes, prefix.len);
}

static void blake(sqlite3_context *context, int n, sqlite3_value **values) {
    const bool parts = sqlite3_user_data(context) != NULL;
    unsigned char sum[SUM];
    crypto_generichash_state state;
    crypto_generichash_init(&state, NULL, 0, sizeof sum);
    for (int i = 0; i < n; i++) {
        Value v;
        read_value(&v, values[i]);
        if (parts) put_length(&state, sqlite3_value_type(values[i]) == SQLITE_NULL ? UINT64_MAX : v.len);
        if (v.len) crypto_generichash_update(&state, v.bytes, v.len);
    }
    crypto_generichash_final(&state, sum, sizeof sum);
    sqlite3_result_blob(context, sum, sizeof sum, SQLITE_TRANSIENT);
}

bool store_sums_register(sqlite3 *db) {
    static const char parts;
    const int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
    return sqlite3_create_function(db, "blake", -1, flags, NULL, blake, NULL, NULL) == SQLITE_OK &&
           sqlite3_create_function(db, "blake_parts", -1, flags, (void *)&parts, blake, NULL, NULL) == SQLITE_OK;
}
