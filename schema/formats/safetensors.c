#include "schema/formats/safetensors.h"
#include "schema/formats/json.h"
#include "schema/limits.h"
#include <stdlib.h>
#include <string.h>

static const char *const dtypes[ELEMENT_COUNT] = {
    [ELEMENT_BOOL] = "BOOL", [ELEMENT_U8] = "U8",   [ELEMENT_I8] = "I8",   [ELEMENT_U16] = "U16", [ELEMENT_I16] = "I16",
    [ELEMENT_U32] = "U32",   [ELEMENT_I32] = "I32", [ELEMENT_U64] = "U64", [ELEMENT_I64] = "I64", [ELEMENT_F16] = "F16",
    [ELEMENT_BF16] = "BF16", [ELEMENT_F32] = "F32", [ELEMENT_F64] = "F64",
};
#define TAKEN "BOOL, U8, I8, U16, I16, U32, I32, U64, I64, F16, BF16, F32, F64"

typedef struct {
    const char *dtype;
    JsonNode shape, offsets;
} Entry;
static const Field fields[] = {{"dtype", FIELD_STRING, offsetof(Entry, dtype), true, NULL},
                               {"shape", FIELD_ARRAY, offsetof(Entry, shape), true, NULL},
                               {"data_offsets", FIELD_ARRAY, offsetof(Entry, offsets), true, NULL},
                               {NULL, 0, 0, false, NULL}};

static bool bad(Err *err, const char *name, const char *what) {
    return err_set(err, ERR_bad_tensor, "The tensor \"%.100s\" %s.", name, what);
}

static bool read_entry(Json *json, JsonNode node, size_t data, size_t data_len, BulkTensor *t, Err *err) {
    const char *name = node->string;
    size_t offsets[2], d = 0;
    Entry e = {0};
    Err form = {0}; /* says less than the tensor's name */
    if (json_kind(node) != JSON_OBJECT || !json_decode(node, "", fields, &e, &form))
        return bad(err, name, "has no proper dtype, shape and data_offsets");
    while (d < ELEMENT_COUNT && strcmp(dtypes[d], e.dtype) != 0) d++;
    if (d == ELEMENT_COUNT)
        return err_set(err, ERR_bad_tensor, "The tensor \"%.100s\" is of dtype %.20s, and of none of the dtypes " TAKEN ".", name, e.dtype);
    t->element = (ElementType)d;
    t->rank = json_sizes(json, e.shape, t->shape, LIMIT_TENSOR_RANK);
    if (t->rank == SIZE_MAX) return bad(err, name, "has a shape that is no list of at most 18 sizes");
    if (json_sizes(json, e.offsets, offsets, 2) != 2) return bad(err, name, "has data_offsets that are not two offsets");
    if (!bulk_measure(t)) return bad(err, name, "has a shape that overflows");
    if (offsets[0] > offsets[1] || offsets[1] > data_len) return bad(err, name, "has data_offsets beyond the data");
    if (offsets[1] - offsets[0] != t->bytes) return bad(err, name, "has data_offsets that do not fit its shape and dtype");
    t->offset = data + offsets[0];
    t->name = strdup(name);
    return t->name || err_set(err, ERR_internal, "Memory is short.");
}

static int by_offset(const void *a, const void *b) {
    const BulkTensor *s = a, *t = b;
    if (s->offset != t->offset) return s->offset < t->offset ? -1 : 1;
    return (s->bytes > t->bytes) - (s->bytes < t->bytes);
}

/* The data must be exactly the tensors, one after the other. */
static bool tiles(Bulk *bulk, size_t data, size_t len, Err *err) {
    size_t at = data;
    if (bulk->n) qsort(bulk->items, bulk->n, sizeof *bulk->items, by_offset);
    for (size_t i = 0; i < bulk->n; i++) {
        const BulkTensor *t = &bulk->items[i];
        if (t->offset != at) return bad(err, t->name, t->offset < at ? "overlaps another one" : "leaves a gap before it");
        at += t->bytes;
    }
    return at == len || err_set(err, ERR_bad_tensor, "There are bytes behind the last tensor.");
}

static bool read_entries(Json *json, size_t data, size_t len, Bulk *out, Err *err) {
    size_t n = 0;
    if (json_kind(json->root) != JSON_OBJECT) return err_set(err, ERR_bad_tensor, "The safetensors header is no JSON object.");
    for (JsonNode node = json->root->child; node; node = node->next) n++;
    if (n > LIMIT_TENSORS) return err_set(err, ERR_bad_tensor, "There are more than %d tensors.", LIMIT_TENSORS);
    out->items = calloc(n ? n : 1, sizeof *out->items);
    if (!out->items) return err_set(err, ERR_internal, "Memory is short.");
    for (JsonNode node = json->root->child; node; node = node->next) {
        if (strcmp(node->string, SAFETENSORS_METADATA) == 0) continue;
        if (!read_entry(json, node, data, len - data, &out->items[out->n++], err)) return false;
    }
    return tiles(out, data, len, err);
}

bool safetensors_is(const unsigned char *body, size_t len) {
    Reader r = reader_of(body, len);
    uint64_t header = read_u64(&r);
    return !r.failed && header && header <= len - 8 && header <= LIMIT_JSON_BYTES && body[8] == '{';
}

/* The header's JSON; its end is where the data begin. */
static bool read_header(const unsigned char *body, size_t len, Json *json, size_t *data, Err *err) {
    Reader r = reader_of(body, len);
    uint64_t header = read_u64(&r);
    if (r.failed || header > len - 8 || header > LIMIT_JSON_BYTES)
        return err_set(err, ERR_bad_tensor, "The safetensors header's length does not fit the body.");
    *data = 8 + (size_t)header;
    if (json_parse(json, (const char *)body + 8, (size_t)header, err)) return true;
    if (err->code == ERR_bad_json) err->code = ERR_bad_tensor;
    return false;
}

bool safetensors_read(const unsigned char *body, size_t len, Bulk *out, Err *err) {
    *out = (Bulk){0};
    size_t data;
    Json json;
    if (!read_header(body, len, &json, &data, err)) return false;
    bool ok = read_entries(&json, data, len, out, err);
    json_release(&json);
    if (!ok) bulk_release(out);
    return ok;
}

bool safetensors_note(const unsigned char *body, size_t len, const char *key, char *out, size_t room) {
    size_t data;
    Json json;
    Err err = {0};
    if (!read_header(body, len, &json, &data, &err)) return false;
    JsonNode notes = json_get(json.root, SAFETENSORS_METADATA), note = json_get(notes, key);
    const bool ok = note && json_kind(note) == JSON_STRING && strlen(note->valuestring) < room;
    if (ok) strcpy(out, note->valuestring);
    json_release(&json);
    return ok;
}

static void put_notes(Buf *header, const BulkNote *notes, size_t n) {
    buf_puts(header, "\"" SAFETENSORS_METADATA "\":{");
    for (size_t i = 0; i < n; i++) {
        if (i) buf_putc(header, ',');
        json_put_string(header, notes[i].key);
        buf_putc(header, ':');
        json_put_string(header, notes[i].value);
    }
    buf_putc(header, '}');
}

void safetensors_put_header(Buf *out, const BulkTensor *tensors, size_t n) { safetensors_put_noted(out, tensors, n, NULL, 0); }

void safetensors_put_noted(Buf *out, const BulkTensor *tensors, size_t n, const BulkNote *notes, size_t nnotes) {
    Buf header;
    size_t at = 0;
    buf_init(&header);
    buf_putc(&header, '{');
    if (nnotes) put_notes(&header, notes, nnotes);
    for (size_t i = 0; i < n; i++) {
        if (i || nnotes) buf_putc(&header, ',');
        json_put_string(&header, tensors[i].name);
        buf_printf(&header, ":{\"dtype\":\"%s\",\"shape\":[", dtypes[element_of_dtype(tensors[i].dtype)]);
        for (size_t k = 0; k < tensors[i].rank; k++) buf_printf(&header, k ? ",%zu" : "%zu", tensors[i].shape[k]);
        buf_printf(&header, "],\"data_offsets\":[%zu,%zu]}", at, at + tensors[i].bytes);
        at += tensors[i].bytes;
    }
    buf_putc(&header, '}');
    /* Padded, so that the data are aligned. */
    while (header.len % 8 && !header.failed) buf_putc(&header, ' ');
    buf_u64(out, header.len);
    buf_put(out, header.data, header.len);
    out->failed |= header.failed;
    buf_release(&header);
}
