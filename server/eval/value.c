#include "server/eval/value.h"
#include "schema/limits.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const Type *type;
    ValueForm form;
    const char *name, *pointer;
    Err *err;
} Want;

void value_release(Value *value) {
    free(value->owned);
    *value = (Value){0};
}

size_t value_bytes(const Value *value) { return value->rows * value->cols * dtype_size((DType)value->dtype); }

bool value_fill(Value *out, size_t rows, size_t cols, double v) {
    double *data = calloc(rows * cols + 1, sizeof *data);
    if (!data) return false;
    for (size_t i = 0; i < rows * cols; i++) data[i] = v;
    *out = (Value){.dtype = DT_F64, .batched = rows > 1, .rows = rows, .cols = cols, .data = data, .owned = data};
    return true;
}

static bool no_memory(const Want *w) { return err_at(w->err, ERR_internal, w->pointer, "Memory is short."); }

static void put_shape(char *out, size_t room, const size_t *shape, size_t rank) {
    size_t n = (size_t)snprintf(out, room, "[");
    for (size_t i = 0; i < rank && n < room; i++) n += (size_t)snprintf(out + n, room - n, i ? ",%zu" : "%zu", shape[i]);
    if (n < room) snprintf(out + n, room - n, "]");
}

static bool mismatch(const Want *w, const char *what) {
    char shape[120], type[120];
    size_t extents[LIMIT_TYPE_RANK];
    Buf text;
    buf_init(&text);
    type_print(&text, w->type);
    snprintf(type, sizeof type, "%s", buf_text(&text));
    buf_release(&text);
    put_shape(shape, sizeof shape, extents, type_shape(w->type, extents));
    return err_at(w->err, ERR_shape_mismatch, w->pointer, "%s %s, but its type is %s, shape %s.", w->name, what, type, shape);
}

static bool wrong_shape(const Want *w, const size_t *given, size_t rank) {
    char what[160], shape[120];
    put_shape(shape, sizeof shape, given, rank);
    snprintf(what, sizeof what, "has shape %s", shape);
    return mismatch(w, what);
}

/* By how much the first extent may be varied: 0 when it may not. */
static size_t unit_of(const Type *type) {
    const Type *end = type;
    while (type_is_arrow(end)) end = end->cod;
    if (end->kind != TYPE_NAT) return 0;
    return type == end ? 1 : type->cod->dim / end->dim;
}

/* Holds a dense tensor's shape against the type. */
static bool fit(const Want *w, const size_t *given, size_t rank, Value *out) {
    size_t shape[LIMIT_TYPE_RANK], n = type_shape(w->type, shape), unit = unit_of(w->type);
    for (size_t i = 0; i < rank; i++)
        if (given[i] == 0) return err_at(w->err, ERR_bad_tensor, w->pointer, "%s has an empty axis.", w->name);
    if (rank != n && rank != n + 1) return wrong_shape(w, given, rank);
    const size_t *row = given + (rank - n);
    bool shorter = unit && row[0] < shape[0] && row[0] % unit == 0;
    if (row[0] != shape[0] && !shorter) return wrong_shape(w, given, rank);
    out->cols = row[0];
    for (size_t i = 1; i < n; i++) {
        if (row[i] != shape[i]) return wrong_shape(w, given, rank);
        out->cols *= shape[i];
    }
    out->batched = rank > n;
    out->rows = out->batched ? given[0] : 1;
    if (out->rows <= LIMIT_ROWS) return true;
    return err_at(w->err, ERR_too_large, w->pointer, "%s has more than %zu rows.", w->name, LIMIT_ROWS);
}

/* ---- discrete values ---- */

static bool take_discrete(const Want *w, bool boolean, Value *out, size_t rows, bool batched) {
    if (w->type->kind != (boolean ? TYPE_BOOL : TYPE_NAT)) return mismatch(w, boolean ? "is a boolean" : "is a natural");
    if (rows > LIMIT_ROWS) return err_at(w->err, ERR_too_large, w->pointer, "%s has more than %zu rows.", w->name, LIMIT_ROWS);
    *out = (Value){.dtype = boolean ? DT_U8 : DT_I64, .discrete = boolean ? 2 : 1, .batched = batched, .rows = rows, .cols = 1};
    out->data = out->owned = malloc(rows * dtype_size((DType)out->dtype));
    return out->owned || no_memory(w);
}

static bool put_natural(const Want *w, double v, int64_t *out) {
    if (!(v >= 0) || v != floor(v)) return mismatch(w, "is no natural");
    if (v >= (double)w->type->dim)
        return err_at(w->err, ERR_nat_bound_exceeded, w->pointer, "%s is %.17g, and a natural below %zu is wanted.", w->name, v,
                       w->type->dim);
    *out = (int64_t)v;
    return true;
}

/* What would be another number than the one that was written. */
static bool rounded(const Want *w) { return mismatch(w, "has a number that is no natural, or one beyond 2^53"); }

static bool list_of_booleans(const Want *w, Json *json, JsonNode list, Value *out) {
    size_t n = json_count(json, list), i = 0;
    if (!take_discrete(w, true, out, n, true)) return false;
    for (JsonNode item = json_items(json, list); item; item = item->next) {
        if (json_kind(item) != JSON_BOOL) return err_at(w->err, ERR_bad_tensor, w->pointer, "%s mixes booleans with something else.",
                                                         w->name);
        ((uint8_t *)out->owned)[i++] = cJSON_IsTrue(item);
    }
    return true;
}

static bool list_of_naturals(const Want *w, Json *json, JsonNode list, Value *out) {
    Tensor t;
    if (!json_numbers(json, list, &t, w->err)) {
        snprintf(w->err->pointer, sizeof w->err->pointer, "%s", w->pointer);
        return false;
    }
    bool ok = t.rank == 1 || err_at(w->err, ERR_bad_tensor, w->pointer, "%s: values is a plain list.", w->name);
    ok = ok && (!t.rounded || rounded(w));
    ok = ok && take_discrete(w, false, out, t.count, true);
    for (size_t i = 0; ok && i < t.count; i++) ok = put_natural(w, t.data[i], &((int64_t *)out->owned)[i]);
    tensor_release(&t);
    return ok;
}

static bool list_of_values(const Want *w, Json *json, JsonNode node, Value *out) {
    struct {
        JsonNode values;
    } got = {0};
    static const Field fields[] = {{"values", FIELD_ARRAY, 0, true, NULL}, {NULL, 0, 0, false, NULL}};
    if (!json_decode(node, w->pointer, fields, &got, w->err)) return false;
    if (json_count(json, got.values) == 0) return err_at(w->err, ERR_bad_tensor, w->pointer, "%s has no values.", w->name);
    if (json_kind(got.values) == JSON_NUMBERS) return list_of_naturals(w, json, got.values, out);
    return list_of_booleans(w, json, got.values, out);
}

/* ---- the two forms ---- */

/* One number a row, as VALUE_NUMBERS has them. */
static bool take_numbers(const Want *w, const double *data, size_t rows, bool batched, Value *out) {
    const bool boolean = w->type->kind == TYPE_BOOL;
    if (w->type->kind == TYPE_REAL) {
        if (!value_fill(out, rows, 1, 0)) return no_memory(w);
        memcpy(out->owned, data, rows * sizeof *data);
        out->batched = batched;
        return true;
    }
    if (!take_discrete(w, boolean, out, rows, batched)) return false;
    for (size_t i = 0; i < rows; i++) {
        int64_t v;
        if (!put_natural(w, data[i], &v)) return false;
        if (boolean) ((uint8_t *)out->owned)[i] = (uint8_t)v;
        else ((int64_t *)out->owned)[i] = v;
    }
    return true;
}

static bool dense_of_json(const Want *w, const Json *json, JsonNode node, Value *out) {
    Tensor t;
    if (!json_numbers(json, node, &t, w->err)) {
        snprintf(w->err->pointer, sizeof w->err->pointer, "%s", w->pointer);
        return false;
    }
    if (w->form == VALUE_NUMBERS && t.rank == 1 && t.count) {
        const bool ok = t.rounded && w->type->kind != TYPE_REAL ? rounded(w) : take_numbers(w, t.data, t.count, true, out);
        tensor_release(&t);
        return ok;
    }
    *out = (Value){.dtype = DT_F64, .data = t.data, .owned = t.data};
    return fit(w, t.shape, t.rank, out);
}

static bool read_json(const Want *w, Json *json, JsonNode node, Value *out) {
    switch (json_kind(node)) {
    case JSON_BOOL:
        if (!take_discrete(w, true, out, 1, false)) return false;
        *(uint8_t *)out->owned = cJSON_IsTrue(node);
        return true;
    case JSON_NUMBER:
        if (json_rounded(node) && w->type->kind != TYPE_REAL) return rounded(w);
        if (w->form == VALUE_NUMBERS) return take_numbers(w, &node->valuedouble, 1, false, out);
        return take_discrete(w, false, out, 1, false) && put_natural(w, node->valuedouble, out->owned);
    case JSON_OBJECT: return list_of_values(w, json, node, out);
    case JSON_NUMBERS:
    case JSON_ARRAY: return dense_of_json(w, json, node, out);
    default: return err_at(w->err, ERR_bad_request, w->pointer,
                            "%s is a boolean, a natural, nested arrays of numbers, or {\"values\": […]}.", w->name);
    }
}

bool value_of_json(Json *json, JsonNode node, const Type *type, ValueForm form, const char *name, const char *pointer, Value *out, Err *err) {
    *out = (Value){0};
    if (read_json(&(Want){type, form, name, pointer, err}, json, node, out)) return true;
    value_release(out);
    return false;
}

static int64_t discrete_at(const BulkTensor *t, const unsigned char *data, size_t i) {
    int64_t v;
    unsigned char byte;
    if (t->dtype == DT_I64) return bulk_convert(t, data, i, 1, &v), v;
    return bulk_convert(t, data, i, 1, &byte), byte;
}

static bool discrete_of_bulk(const Want *w, const BulkTensor *t, const unsigned char *data, Value *out) {
    bool boolean = w->type->kind == TYPE_BOOL;
    if (t->rank > 1)
        return err_set(w->err, ERR_bad_tensor, "%s: a tensor of integers or booleans has shape [] or [rows]; this one is of %s, and numbers are floats.",
                       w->name, element_name(t->element));
    if (t->count == 0) return err_set(w->err, ERR_bad_tensor, "%s has an empty axis.", w->name);
    if (w->type->kind != TYPE_BOOL && w->type->kind != TYPE_NAT) return mismatch(w, "is discrete");
    if (t->dtype == DT_BOOL && !boolean) return mismatch(w, "is a boolean");
    if (t->count > LIMIT_ROWS) return err_set(w->err, ERR_too_large, "%s has more than %zu rows.", w->name, LIMIT_ROWS);
    for (size_t i = 0; i < t->count; i++) {
        int64_t v = discrete_at(t, data, i);
        if (boolean && (v < 0 || v > 1)) return err_set(w->err, ERR_bad_tensor, "%s: %lld is no boolean.", w->name, (long long)v);
        if (v < 0) return err_set(w->err, ERR_bad_tensor, "%s: %lld is no natural.", w->name, (long long)v);
        if ((uint64_t)v >= w->type->dim)
            return err_set(w->err, ERR_nat_bound_exceeded, "%s: %lld, and a natural below %zu is wanted.", w->name, (long long)v,
                           w->type->dim);
    }
    *out = (Value){.dtype = (uint8_t)t->dtype, .discrete = boolean ? 2 : 1, .batched = t->rank == 1, .rows = t->count, .cols = 1, .data = data,
                   .tensor = bulk_plain(t) ? NULL : t};
    return true;
}

/* One real number a row. */
static bool numbers_of_bulk(const Want *w, const BulkTensor *t, Value *out) {
    if (t->count == 0) return err_set(w->err, ERR_bad_tensor, "%s has an empty axis.", w->name);
    if (t->count > LIMIT_ROWS) return err_set(w->err, ERR_too_large, "%s has more than %zu rows.", w->name, LIMIT_ROWS);
    out->batched = t->rank == 1;
    out->rows = t->count;
    out->cols = 1;
    return true;
}

bool value_of_bulk(const BulkTensor *t, const unsigned char *body, const Type *type, ValueForm form, const char *name, Value *out, Err *err) {
    Want w = {type, form, name, "", err};
    const bool integer = t->dtype != DT_F32 && t->dtype != DT_F64, single = form == VALUE_NUMBERS && t->rank < 2;
    const unsigned char *data = body + t->offset;
    *out = (Value){0};
    if (!bulk_fits(t, data, err)) return false;
    if (integer && (form == VALUE_PLAIN || (single && type->kind != TYPE_REAL))) return discrete_of_bulk(&w, t, data, out);
    if (single && type->kind != TYPE_REAL) return mismatch(&w, "is one integer a row");
    const DType wide = t->dtype == DT_I64 ? DT_F64 : DT_F32;
    *out = (Value){.dtype = (uint8_t)(integer ? wide : t->dtype), .data = data, .tensor = integer || !bulk_plain(t) ? t : NULL};
    return single ? numbers_of_bulk(&w, t, out) : fit(&w, t->shape, t->rank, out);
}

/* U8 and BOOL as F32, I64 as F64. */
static void widen(DType from, const void *data, size_t n, void *to) {
    for (size_t i = 0; i < n && from != DT_I64; i++) ((float *)to)[i] = ((const uint8_t *)data)[i];
    for (size_t i = 0; i < n && from == DT_I64; i++) ((double *)to)[i] = (double)((const int64_t *)data)[i];
}

/* Integers for numbers, a piece at a time. */
static void copy_widened(const Value *v, const void *data, void *to) {
    enum { PIECE = 1024 };
    int64_t piece[PIECE];
    const size_t n = v->rows * v->cols, size = dtype_size((DType)v->dtype);
    for (size_t done = 0; done < n; done += PIECE) {
        const size_t count = n - done < PIECE ? n - done : PIECE;
        bulk_convert(v->tensor, data, done, count, piece);
        widen(v->tensor->dtype, piece, count, (char *)to + done * size);
    }
}

void value_copy(const Value *v, const void *data, void *to) {
    if (!v->tensor) memcpy(to, data, value_bytes(v));
    else if (v->tensor->dtype == v->dtype) bulk_convert(v->tensor, data, 0, v->tensor->count, to);
    else copy_widened(v, data, to);
}

bool value_fits_f32(const Value *v, const char *name, const char *pointer, Err *err) {
    enum { PIECE = 1024 };
    double piece[PIECE];
    if (v->dtype != DT_F64 || (v->tensor && v->tensor->dtype != DT_F64)) return true; /* an integer is none so large */
    const size_t n = v->rows * v->cols;
    for (size_t done = 0; done < n; done += PIECE) {
        const size_t count = n - done < PIECE ? n - done : PIECE;
        if (v->tensor) bulk_convert(v->tensor, v->data, done, count, piece);
        else memcpy(piece, (const char *)v->data + done * sizeof *piece, count * sizeof *piece);
        const size_t i = elements_beyond_f32(piece, count);
        if (i == count) continue;
        char place[80] = "";
        if (v->batched) snprintf(place, sizeof place, ", row %zu", (done + i) / v->cols);
        return err_at(err, ERR_bad_tensor, pointer, "%s has %.9g (element %zu%s), and f32 ends at %.9g; ask for dtype f64.", name, piece[i],
                       (done + i) % v->cols, place, (double)__FLT_MAX__);
    }
    return true;
}
